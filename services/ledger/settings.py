"""What the ledger is told from outside."""

from pathlib import Path

from pydantic import Field

from shared.settings import ServiceSettings


class LedgerSettings(ServiceSettings):
    """Settings of this service."""

    care_seconds: float = Field(default=600, gt=0)
    """How often the log is looked after. Partitions are made weeks ahead, so a missed time does no harm."""
    care_alarm_seconds: float = Field(default=3600, gt=0)
    """After so long without care the ledger is not ready."""
    evidence_folder: Path | None = None
    """Where the tree of hashes and its checkpoints are kept, outside the database; replicas share it. None: nowhere."""
    checkpoint_seconds: float = Field(default=2, gt=0)
    """How often a checkpoint is made while the log grows."""
    require_synchronous_replication: bool = False
    """Not ready while a commit waits for no other server; without this, `/readyz` only says so."""
