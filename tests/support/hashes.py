"""Hashes of the log's rows, as whoever does not believe the log computes them."""

from datetime import UTC, datetime

from shared.evidence import stagedoor_verify
from shared.evidence.stagedoor_verify import Wrong, event_hash
from shared.log.row import EventRow


def data_digest(salt: bytes, data: str) -> bytes:
    """Of an event's data."""
    return stagedoor_verify.data_digest(salt, data.encode())


def leaf_hash(row: EventRow) -> bytes:
    """Of everything that a row says; raises `Wrong` if its data are not those that its digest is of."""
    return event_hash(
        {
            "position": row.position,
            "epoch": row.epoch,
            "stream": row.stream,
            "version": row.version,
            "type": row.type,
            "data": row.data,
            "data_digest": row.data_digest.hex(),
            "salt": row.salt.hex(),
            "actor": row.actor,
            "command_id": str(row.command_id),
            "correlation_id": row.correlation_id,
            "causation_id": row.causation_id,
            "recorded_at": moment(row.recorded_at),
        }
    )


def is_intact(row: EventRow) -> bool:
    """Whether the data, the digest and the leaf hash of a row belong together."""
    try:
        return leaf_hash(row) == row.leaf_hash
    except Wrong:
        return False


def moment(at: datetime) -> str:
    """A time as it is hashed: UTC, six digits of the second, Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
