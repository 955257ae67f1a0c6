"""The log as it was: which moment is meant, the facts of a stream up to it, and what is not there any more."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.ledger.v1 import ledger_pb2 as messages
from services.ledger.events import Question
from services.ledger.queries import record, word
from shared.errors import Kind, Refusal, Unavailable
from shared.log.codec import UnreadableEvent
from shared.log.event import Catalogue, Event, Recorded
from shared.log.log import Log
from shared.log.row import EventFilter, EventRow
from shared.questions import ask

_TICK: Final = timedelta(microseconds=1)
"""The log tells moments apart by this."""
_STRETCH: Final = 20_000
"""Positions that one statement looks through."""
_PAGE: Final = 1000
"""Events of one statement, at the most."""
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ID: Final = re.compile(r"[\x21-\x7e]{1,300}")


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of the log."""

    position: int
    """Up to this one; 0: nothing had happened."""
    at: datetime
    """What runs out with time is judged by it."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the log has of a stream."""

    then: tuple[Recorded, ...]
    """Up to the moment."""
    since: tuple[Recorded, ...]
    """After it."""
    whole: bool
    """Whether that is all; False: the beginning was pruned."""


def check_id(value: str, what: str) -> str:
    """An id as it may come from outside; refuses what none can look like."""
    if not _ID.fullmatch(value):
        raise Refusal(Kind.INVALID, "invalid_argument", f"{what} has 1 to 300 visible ASCII characters")
    return value


class Past:
    """One log, looked back at."""

    def __init__(self, log: Log, catalogue: Catalogue) -> None:
        """`catalogue`: all facts of all services."""
        self._log = log
        self._catalogue = catalogue

    async def ask(self, question: Question, wanted: messages.Moment, about: Mapping[str, str]) -> Moment:
        """The moment that is meant, once it is a fact that somebody asks about it.

        Refuses, and nothing was asked, what the log has not come to: it could still become something else.
        """
        which = wanted.WhichOneof("moment")
        time = None
        if which == "position":
            head = (await self._log.head()).position
            if not 1 <= wanted.position <= head:
                raise Refusal(Kind.INVALID, "not_reached", f"the log has positions 1 to {head}")
        elif which == "time":
            time = time_of(wanted.time)
            if time >= await ask(self._log.pool.fetchval("SELECT clock_timestamp()")):
                raise Refusal(Kind.INVALID, "not_reached", "that time has not come")
        told = [word(name, value) for name, value in about.items() if value]
        if time is not None:
            told.append(f"time={time.isoformat()}")
        asked = await record(self._log, question, 0, wanted.position or None, tuple(told))
        if which == "position":
            (event,) = await self._log.read_rows(wanted.position - 1, limit=1)
            return Moment(wanted.position, event.recorded_at)
        if time is None:
            return Moment(asked.position - 1, asked.recorded_at)
        # Time never goes back in the log and the question is in it, so nothing can be appended for that time any more.
        if asked.recorded_at <= time:
            raise Unavailable("clock_behind", "the log's clock has not come to that time")
        return Moment(await self._last_until(time), time)

    async def _last_until(self, time: datetime) -> int:
        """The last position that was recorded up to a time that is over."""
        (event,) = await self._log.read_rows(0, limit=1, matching=EventFilter(since=time + _TICK))
        return event.position - 1

    async def since(self, time: datetime | None) -> int:
        """The position after which lies all that was recorded at or after a time; None: all."""
        if time is None:
            return 0
        found = await self._log.read_rows(0, limit=1, matching=EventFilter(since=time))
        return found[0].position - 1 if found else (await self._log.head()).position

    async def stream(self, name: str, moment: Moment) -> Told:
        """The facts of a stream."""
        try:
            stream = await self._log.load(name)
        except UnreadableEvent as unreadable:
            raise _unreadable(unreadable) from None
        events = stream.events
        cut = sum(1 for recorded in events if position_of(recorded) <= moment.position)
        whole = events[0].version == 1 if events else stream.version == 0
        return Told(events[:cut], events[cut:], whole)

    async def at(self, position: int) -> EventRow | None:
        """The event at a position; None if it is not there, or not any more."""
        rows = await self._log.read_rows(position - 1, limit=1, until=position)
        return rows[0] if rows else None

    async def matching(self, after: int, until: int, wanted: EventFilter) -> AsyncIterator[tuple[int, list[EventRow]]]:
        """What matches, in order, in pages: up to which position each goes, and the events."""
        while after < until:
            end = min(until, after + _STRETCH)
            after, rows = await self._page(after, end, _PAGE, wanted)
            yield after, rows

    async def backwards(self, until: int, after: int, wanted: EventFilter) -> AsyncIterator[tuple[int, list[EventRow]]]:
        """The same from the end, for what is looked for where it is likely to be."""
        width = _STRETCH
        while until > after:
            begin = max(after, until - width)
            seen, rows = await self._page(begin, until, until - begin, wanted)
            if seen < until:  # it is too much for one page, and its end comes first
                width = (until - begin) // 2
                continue
            yield begin, rows
            until, width = begin, min(_STRETCH, 2 * width)

    async def _page(self, after: int, until: int, limit: int, wanted: EventFilter) -> tuple[int, list[EventRow]]:
        """What matches after a position and up to another, and up to which one it goes."""
        page = await self._log.read_records("*", after, limit, until, wanted)
        rows = [EventRow.of(record) for record in page.events]
        return (rows[-1].position if page.full else until), rows

    async def pruned_before(self) -> int:
        """Expiring facts before this position are not in the log any more; 0: all are."""
        last = await ask(self._log.pool.fetchval("SELECT log.pruned_to()"))
        return 0 if last is None else int(last) + 1

    def event(self, row: EventRow) -> Event:
        """What stands in a row."""
        try:
            return self._catalogue[row.type].from_json(row.data)
        except (ValueError, KeyError):  # the text may quote the event
            raise _unreadable(UnreadableEvent(row.position, row.type)) from None


def position_of(recorded: Recorded) -> int:
    """Where a fact that was read stands."""
    if not isinstance(recorded.position, int):
        raise TypeError("what is told of the past is in the log")
    return recorded.position


def time_of(stated: Timestamp) -> datetime:
    """A time that somebody states; refuses what is none, or was before there was a log."""
    try:
        time = stated.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Refusal(Kind.INVALID, "invalid_argument", "the time is none") from None
    if time < _FIRST:
        raise Refusal(Kind.INVALID, "invalid_argument", "there was no log at that time")
    return time


def _unreadable(unreadable: UnreadableEvent) -> Refusal:
    """It was written by a later version, or by nobody that may write."""
    return Refusal(Kind.PRECONDITION, "unreadable_event", str(unreadable))
