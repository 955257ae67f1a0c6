"""An event as a NATS message: CloudEvents 1.0 in binary mode (the attributes are headers, the body is the fact).

The body is the JSON of the recorded event. Its `data` is the canonical text of the log, byte for byte, so that
whoever has the salt can check the digest; it is null where the data has been pruned.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

from shared.log.row import EventRow
from shared.messaging.access import EVENTS, STREAM
from shared.tracing.spans import TRACEPARENT

POSITION = "stagedoor-position"
PREVIOUS = "stagedoor-previous"
"""Position of the event of the same source before this one; 0: there is none, or the stream begins after it."""
EPOCH = "stagedoor-epoch"
FIRST_EPOCH = 1
MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_STREAM = "Nats-Expected-Stream"
EXPECTED_ID = "Nats-Expected-Last-Msg-Id"
EXPECTED_SEQUENCE = "Nats-Expected-Last-Sequence"


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    """The record of an event."""

    position: int
    epoch: int
    stream: str
    version: int
    type: str
    data: Raw
    actor: str
    command_id: UUID
    correlation_id: str
    causation_id: int | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that can be published."""

    subject: str
    headers: dict[str, str]
    body: bytes


def message_id(row: EventRow) -> str:
    """The position; after the first epoch `<epoch>-<position>`, as a lost branch may have had another fact there."""
    return str(row.position) if row.epoch == FIRST_EPOCH else f"{row.epoch}-{row.position}"


def source_of(event_type: str) -> str:
    """The service that owns a fact."""
    return event_type.partition(".")[0]


def encode(row: EventRow, previous: int, follows: str | None = None, traceparent: str | None = None) -> Outgoing:
    """The message of an event; `previous` is the position of the event of its source before it.

    `follows` is the id of the message that it must come right after; None: it is known which one is the last.
    `traceparent` (W3C Trace Context) is there if its course is traced.
    """
    body = Body(
        position=row.position,
        epoch=row.epoch,
        stream=row.stream,
        version=row.version,
        type=row.type,
        data=Raw(row.data.encode() if row.data else b"null"),
        actor=row.actor,
        command_id=row.command_id,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        recorded_at=row.recorded_at,
    )
    headers = {
        "ce-specversion": "1.0",
        "ce-id": message_id(row),
        "ce-type": row.type,
        "ce-source": f"/stagedoor/{source_of(row.type)}",
        "ce-time": row.recorded_at.isoformat(),
        "ce-subject": row.stream,
        "content-type": "application/json",
        "correlation-id": row.correlation_id,
        POSITION: str(row.position),
        PREVIOUS: str(previous),
        EPOCH: str(row.epoch),
        MESSAGE_ID: message_id(row),
        EXPECTED_STREAM: STREAM,
        EXPECTED_SEQUENCE: str(row.position - 1),
    }
    if follows is not None:
        headers[EXPECTED_ID] = follows
    if traceparent is not None:
        headers[TRACEPARENT] = traceparent
    return Outgoing(f"{EVENTS}.{row.type}", headers, msgspec.json.encode(body))


def is_message_of(row: EventRow, subject: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a stored message tells of this event."""
    try:
        stored = msgspec.json.decode(body, type=Body)
    except msgspec.MsgspecError:
        return False
    return (subject, headers.get(MESSAGE_ID), stored.stream, stored.version, stored.command_id) == (
        f"{EVENTS}.{row.type}",
        message_id(row),
        row.stream,
        row.version,
        row.command_id,
    )


def claimed_position(headers: Mapping[str, str]) -> int | None:
    """The position that a received message claims to tell of; None: it claims none that could be one."""
    text = headers.get(POSITION, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
