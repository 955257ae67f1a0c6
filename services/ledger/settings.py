"""What the ledger is told from outside."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field, field_validator

from shared.settings import ServiceSettings

SHORTEST_RETENTION = timedelta(days=380)
"""`log.shortest_retention()` has the same, and says why."""


class LedgerSettings(ServiceSettings):
    """Settings of this service."""

    nats_replicas: int = Field(default=1, ge=1, le=5)
    """On how many NATS servers the stream is kept: three where there are three. It can be changed at any time."""
    care_seconds: float = Field(default=600, gt=0)
    """How often the log is looked after. Partitions are made weeks ahead, so a missed time does no harm."""
    care_alarm_seconds: float = Field(default=3600, gt=0)
    """After so long without care the ledger is not ready."""
    evidence_folder: Path | None = None
    """Where the tree of hashes and its checkpoints are kept, outside the database; replicas share it. None: nowhere."""
    checkpoint_seconds: float = Field(default=2, gt=0)
    """How often a checkpoint is made while the log grows."""
    archive_folder: Path | None = None
    """Where expiring events are archived before they leave the log; replicas share it. None: they never leave it."""
    retention_days: float = Field(default=400, ge=0)
    """How long the log keeps expiring events at least; 0: for ever."""
    require_synchronous_replication: bool = False
    """Not ready while a commit waits for no other server; without this, `/readyz` only says so."""

    @field_validator("retention_days")
    @classmethod
    def _long_enough(cls, days: float) -> float:
        if 0 < days < SHORTEST_RETENTION.days:
            raise ValueError(f"at least {SHORTEST_RETENTION.days} days, or 0 for ever: grants may live for a year")
        return days
