"""How what the services answer is written on pages."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

_SEALED: Final = "p1."
"""What personal data begins with as the log has it."""


def when(at: Timestamp) -> str:
    """A moment, in UTC; empty where there is none."""
    if not (at.seconds or at.nanos):
        return ""
    return moment(at.ToDatetime(tzinfo=UTC))


def moment(at: datetime) -> str:
    """Such as `2026-07-13 18:41:07.123`."""
    return at.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")


def field(message: Any, name: str) -> str:
    """A moment that may be unset."""
    return when(getattr(message, name)) if message.HasField(name) else ""


def event(one: Any) -> Mapping[str, Any]:
    """An event of the log."""
    return {
        "position": one.position,
        "at": when(one.recorded_at),
        "type": one.type,
        "actor": one.actor,
        "stream": one.stream,
        "correlation": one.correlation_id,
        "said": said(one.data),
    }


def said(data: str) -> str:
    """What an event says, for people; personal data is not told, and what has left the log is not there."""
    if not data:
        return "(pruned)"
    return json.dumps(_readable(json.loads(data)), ensure_ascii=False, indent=2)


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _readable(one) for name, one in value.items() if one not in (None, [], {})}
    if isinstance(value, list):
        return [_readable(one) for one in value]
    return "(personal)" if isinstance(value, str) and value.startswith(_SEALED) else value
