"""Hashes of events, computed anew by whoever does not want to believe the log's own.

A leaf is hashed as RFC 6962 section 2.1 hashes leaves: SHA-256 over a zero byte and the text of the leaf. The data
stands in it as a salted digest only, so data can be erased, with its salt, and the hash still proves the event.
"""

import hashlib
from datetime import UTC, datetime

from shared.log.row import EventRow

_FORM = "stagedoor-event-v1"


def data_digest(salt: bytes, data: str) -> bytes:
    """SHA-256 of the salt followed by the data's bytes (UTF-8)."""
    return hashlib.sha256(salt + data.encode()).digest()


def leaf_text(row: EventRow, digest: bytes) -> str:
    """What is hashed: the fields in lines; none of them can contain the end of a line."""
    fields = (
        _FORM,
        str(row.epoch),
        str(row.position),
        row.stream,
        str(row.version),
        row.type,
        digest.hex(),
        row.actor,
        str(row.command_id),
        row.correlation_id,
        "" if row.causation_id is None else str(row.causation_id),
        moment(row.recorded_at),
    )
    return "\n".join(fields)


def leaf_hash(row: EventRow, digest: bytes | None = None) -> bytes:
    """The hash of an event; `digest` is that of its data, where it was computed anew."""
    text = leaf_text(row, row.data_digest if digest is None else digest)
    return hashlib.sha256(b"\x00" + text.encode()).digest()


def is_intact(row: EventRow) -> bool:
    """Whether the data, the digest and the leaf hash of a row belong together."""
    digest = data_digest(row.salt, row.data)
    return digest == row.data_digest and leaf_hash(row, digest) == row.leaf_hash


def moment(at: datetime) -> str:
    """A time as it is hashed: UTC, six digits of the second, Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
