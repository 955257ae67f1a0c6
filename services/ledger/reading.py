"""One read of the log: what is asked for, and how far it has come."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.ledger.v1 import ledger_pb2 as messages
from services.ledger.pruned import pruned_message
from shared.errors import Kind, Refusal
from shared.log.row import EventFilter

COLUMNS: Final = """position, epoch, stream, version, type, data, data_digest, salt, leaf_hash, actor, command_id::text,
    correlation_id, coalesce(causation_id, 0), (extract(epoch FROM recorded_at) * 1000000)::bigint"""
"""Of `log.events`, in the form and order in which they are handed out."""
_LONGEST_LIST = 100
"""Values of one list of a filter."""
_LONGEST_VALUE = 512
_LARGEST = 500_000
"""Characters of data in one message, unless a single event has more; each may be four bytes."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one look at the log found."""

    seen: int
    """Everything up to this position has been looked at."""
    records: Sequence[Any]
    """With `COLUMNS`, in order."""
    gaps: Sequence[Any]
    """Stretches of these positions of which events have left the log."""


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

    def looked(self, page: Page) -> None:
        """A page is there, and is going to be sent."""
        self.after = page.seen
        if self.left is not None:
            self.left -= len(page.records)

    def answers(self, page: Page) -> Iterator[messages.ReadResponse]:
        """What is sent of a page. Of a gap is said before what comes after its first position, and once."""
        begin = 0
        for gap in page.gaps:
            if gap["last"] > self.told:
                end = bisect_left(page.records, gap["first"], begin, key=_position)
                yield from _events(page.records[begin:end])
                begin = end
                self.told = gap["last"]
                yield messages.ReadResponse(pruned=pruned_message(gap))
        yield from _events(page.records[begin:])

    @property
    def done(self) -> bool:
        """Whether nothing more can come; to be asked after having looked as far as possible."""
        return self.full or not self.follow or (self.until is not None and self.after >= self.until)


def _events(records: Sequence[Any]) -> Iterator[messages.ReadResponse]:
    """Events as messages that are not too large."""
    if not records:
        return
    if len(records) > 1 and sum(len(record["data"]) for record in records) > _LARGEST:
        middle = len(records) // 2
        yield from _events(records[:middle])
        yield from _events(records[middle:])
        return
    answer = messages.ReadResponse()
    for record in records:
        _add(answer.events.events, record)
    yield answer


def _add(events: Any, record: Any) -> None:
    """Add an event, made in its place: a whole log goes through here."""
    (
        position,
        epoch,
        stream,
        version,
        type_,
        data,
        data_digest,
        salt,
        leaf_hash,
        actor,
        command_id,
        correlation_id,
        causation_id,
        microseconds,
    ) = record
    recorded_at = events.add(
        position=position,
        epoch=epoch,
        stream=stream,
        version=version,
        type=type_,
        data=data,
        data_digest=data_digest,
        salt=salt,
        leaf_hash=leaf_hash,
        actor=actor,
        command_id=command_id,
        correlation_id=correlation_id,
        causation_id=causation_id,
    ).recorded_at
    recorded_at.seconds, left = divmod(microseconds, 1_000_000)
    recorded_at.nanos = left * 1_000


def _position(record: Any) -> int:
    position: int = record["position"]
    return position


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
