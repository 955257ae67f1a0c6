"""Events as they stand in the log, not decoded."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct


class EventRow(Struct, frozen=True):
    """One row of the log."""

    epoch: int
    position: int
    stream: str
    version: int
    type: str
    data: str
    """Canonical JSON, exactly as hashed."""
    data_digest: bytes
    """SHA-256 of the salt followed by the data."""
    salt: bytes
    actor: str
    command_id: UUID
    correlation_id: str
    causation_id: int | None
    recorded_at: datetime
    leaf_hash: bytes
    """Over everything but data and salt (`shared.evidence.stagedoor_verify.leaf_hash`)."""

    @classmethod
    def of(cls, record: Any) -> "EventRow":
        """From a record of `log.events`."""
        return cls(
            epoch=record["epoch"],
            position=record["position"],
            stream=record["stream"],
            version=record["version"],
            type=record["type"],
            data=record["data"],
            data_digest=record["data_digest"],
            salt=record["salt"],
            actor=record["actor"],
            command_id=UUID(int=record["command_id"].int),
            correlation_id=record["correlation_id"],
            causation_id=record["causation_id"],
            recorded_at=record["recorded_at"],
            leaf_hash=record["leaf_hash"],
        )


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted. What is empty or None admits everything; within one any may match; all have to match."""

    types: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    client_ids: tuple[str, ...] = ()
    """Members of the event's data, as are the next four."""
    subs: tuple[str, ...] = ()
    sids: tuple[str, ...] = ()
    gids: tuple[str, ...] = ()
    jtis: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    correlation_ids: tuple[str, ...] = ()
    since: datetime | None = None
    """Recorded at or after this moment."""
    before: datetime | None = None
    """Recorded before this moment."""


EVERYTHING = EventFilter()
