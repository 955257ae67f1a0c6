"""One read of the log: what is asked for, and how far it has come."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.ledger.v1 import ledger_pb2 as messages
from services.ledger.pruned import pruned_message
from shared.errors import Kind, Refusal
from shared.log.row import EventFilter, EventRow

_LONGEST_LIST = 100
"""Values of one list of a filter."""
_LONGEST_VALUE = 512


@dataclass(slots=True)
class Reading:
    """Where a read stands."""

    matching: EventFilter
    after: int
    """Everything up to this position has been looked at."""
    until: int | None
    """The last position that is wanted; None: there is no end."""
    left: int | None
    """How many events may still be sent; None: any number."""
    follow: bool
    """Go on with what is appended from now on."""
    told: int = 0
    """The last position of the stretches of which was said that events of them have left the log."""

    @classmethod
    def of(cls, request: messages.ReadRequest) -> "Reading":
        """From a request; raises a `Refusal` for one that makes no sense."""
        if request.after < 0 or request.until < 0 or request.limit < 0:
            raise Refusal(Kind.INVALID, "invalid_argument", "positions and limits are not negative")
        return cls(
            matching=_filter(request.filter),
            after=request.after,
            until=request.until or None,
            left=request.limit or None,
            follow=request.follow,
        )

    @property
    def full(self) -> bool:
        """Whether as many events as were wanted have been sent."""
        return self.left == 0

    def bound(self, head: int) -> int:
        """How far it can look now."""
        return head if self.until is None else min(head, self.until)

    def page(self, largest: int) -> int:
        """How many events the next statement may bring."""
        return largest if self.left is None else min(largest, self.left)

    def sent(self, position: int) -> None:
        """An event was sent."""
        self.after = position
        if self.left is not None:
            self.left -= 1

    def looked(self, position: int) -> None:
        """There is nothing more that matches up to this position."""
        self.after = max(self.after, position)

    def gap(self, stretch: Any) -> messages.ReadResponse:
        """Says that events of a stretch have left the log."""
        self.told = stretch["last"]
        return messages.ReadResponse(pruned=pruned_message(stretch))

    @property
    def done(self) -> bool:
        """Whether nothing more can come; to be asked after having looked as far as possible."""
        return self.full or not self.follow or (self.until is not None and self.after >= self.until)


def event_message(row: EventRow) -> messages.Event:
    """An event, exactly as it stands in the log."""
    message = messages.Event(
        position=row.position,
        epoch=row.epoch,
        stream=row.stream,
        version=row.version,
        type=row.type,
        data=row.data or "",
        data_digest=row.data_digest,
        salt=row.salt or b"",
        leaf_hash=row.leaf_hash,
        actor=row.actor,
        command_id=str(row.command_id),
        correlation_id=row.correlation_id,
        causation_id=row.causation_id or 0,
    )
    message.recorded_at.FromDatetime(row.recorded_at)
    return message


def _filter(wanted: messages.Filter) -> EventFilter:
    return EventFilter(
        types=_values(wanted.types),
        sources=_values(wanted.sources),
        streams=_values(wanted.streams),
        client_ids=_values(wanted.client_ids),
        subs=_values(wanted.subs),
        sids=_values(wanted.sids),
        gids=_values(wanted.gids),
        jtis=_values(wanted.jtis),
        actors=_values(wanted.actors),
        correlation_ids=_values(wanted.correlation_ids),
        since=_moment(wanted.since) if wanted.HasField("since") else None,
        before=_moment(wanted.before) if wanted.HasField("before") else None,
    )


def _values(values: Iterable[str]) -> tuple[str, ...]:
    found = tuple(values)
    if len(found) > _LONGEST_LIST or any(len(value) > _LONGEST_VALUE or "\0" in value for value in found):
        raise Refusal(Kind.INVALID, "invalid_filter", f"a filter has at most {_LONGEST_LIST} values of each kind")
    return found


def _moment(stated: Timestamp) -> datetime:
    try:
        return stated.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Refusal(Kind.INVALID, "invalid_filter", "a moment of the filter is none") from None
