"""How far the view of one source has come, and how it goes on: by reading the log, and in no other way.

A step is one statement of the database that changes rows and checkpoint together, and only if the checkpoint still
is where the step began. So it does not matter how many replicas feed the same tables, nor who wakes them how often.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge

from shared.errors import Unavailable
from shared.handle import Project
from shared.log.append import Head, LogUnavailable
from shared.log.codec import UnreadableEvent
from shared.log.event import Recorded, RowChange, Stamp
from shared.log.log import Log
from shared.messaging.lag import Lag
from shared.telemetry import course_of, logger
from shared.tracing import spans

_log = logger(__name__)
_APPLIED = Counter("stagedoor_follower_events", "Events applied to a projection.", ["projection", "source"])
_LOOKS = Counter("stagedoor_follower_looks", "Reads of the log because of a message.", ["projection", "source"])
_STOPPED = Gauge("stagedoor_follower_stopped", "1 while an event cannot be applied.", ["projection", "source"])
_BEHIND = Gauge(
    "stagedoor_follower_lag_positions",
    "By how much a view was behind the head when looked at.",
    ["projection", "source"],
)
_SINCE = Gauge(
    "stagedoor_follower_lag_seconds", "Since a view was last known to have everything.", ["projection", "source"]
)

_BATCH = 500
"""Events of one step, at the most."""
_PAUSE_SECONDS = (0.005, 1.0)
"""After a message that there was nothing behind, so long nothing is looked for; it doubles each time."""


class ProjectionStopped(Unavailable):
    """An event of the source cannot be applied, and no event is ever skipped."""

    def __init__(self, projection: str, source: str) -> None:
        super().__init__("view_stopped", f"the view {projection} has stopped at an event of {source}")


@dataclass(frozen=True, slots=True)
class Stop:
    """Where and why a view has stopped."""

    position: int
    """Of the event that cannot be applied."""
    why: str
    """The class of the failure: its text may quote the event, so it is not repeated."""


class View:
    """The view that one projection has of one source."""

    def __init__(self, log: Log, projection: str, source: str, project: Project) -> None:
        self.source = source
        self.stopped: Stop | None = None
        self.lag = Lag()
        _BEHIND.labels(projection, source).set_function(self.lag.positions)
        _SINCE.labels(projection, source).set_function(self.lag.seconds)
        _STOPPED.labels(projection, source).set(0)
        self._log = log
        self._projection = projection
        self._project = project
        self._lock = asyncio.Lock()
        self._woken = asyncio.Event()
        self._checkpoint: int | None = None
        self._complete_to = 0
        self._epoch = 0
        self._looks = 0

    @property
    def checkpoint(self) -> int | None:
        """Position of the last event applied, as far as this process knows; None before it has looked."""
        return self._checkpoint

    @property
    def complete_to(self) -> int:
        """Every event of the source up to here has been applied."""
        return max(self._complete_to, self._checkpoint or 0)

    @property
    def epoch(self) -> int:
        """The epoch of the log in which it is complete so far, as far as this process has looked."""
        return self._epoch

    def complete(self, position: int, epoch: int | None = None) -> bool:
        """Whether every event of the source up to a position has been applied; `epoch`: that the log had there."""
        return self.complete_to >= position and epoch in (None, self._epoch)

    async def advance(self, past: int, epoch: int | None = None, *, anew: bool = False) -> None:
        """Go on by reading the log, unless the view is complete up to `past` already.

        `epoch`: that the log has there, where that is known. Positions of a tail that a failover has lost are given out
        a second time, so to have come to one of them before says nothing. `anew`: somebody has shown that something is
        missing up to there, so the log is looked at whatever this process believes, unless that was done meanwhile.

        Raises `LogUnavailable`, or `ProjectionStopped` if an event cannot be applied.
        """
        looks = self._looks
        async with self._lock:
            known = self._checkpoint is not None and self.stopped is None and self.complete(past, epoch)
            if not known or (anew and self._looks == looks):
                await self._advance()

    async def follow(self, head: Head) -> None:
        """Go on to a head that was just read, which may be behind this view if the log has lost something."""
        async with self._lock:
            known = self._checkpoint is not None and self.stopped is None
            if not known or (head.epoch, head.position) != (self._epoch, self.complete_to):
                await self._advance()

    # Messages

    def hear(self, position: int | None) -> None:
        """Somebody says that there is something at this position (None: somewhere). Nothing else of it is believed."""
        if position is None or position > self.complete_to:
            self._woken.set()

    async def look_when_woken(self) -> None:
        """Read what there is to read whenever something was heard, for ever; all that was heard till then is one read.

        Who hears of what is not there looks less and less often until something is, so that no flood of messages
        costs more than a few reads. A view that has stopped is left to `advance`.
        """
        shortest, longest = _PAUSE_SECONDS
        pause = shortest
        while True:
            await self._woken.wait()
            self._woken.clear()
            if await self._look():
                pause = shortest
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    async def _look(self) -> bool:
        """Whether the view has come any further, by whomever."""
        before = self.complete_to
        _LOOKS.labels(self._projection, self.source).inc()
        try:
            async with self._lock:
                if self.stopped is None:
                    await self._read_on()
        except (LogUnavailable, ProjectionStopped):
            return False
        except Exception as failure:  # noqa: BLE001  (what is wrong is found again, and told, by whoever polls)
            _log.error("look_failed", projection=self._projection, course=course_of(failure), why=repr(type(failure)))
            return False
        return self.complete_to > before

    async def _read_on(self) -> None:
        """As `_advance`, for the usual case: one read and one step."""
        if self._checkpoint is None:
            await self._advance()
            return
        try:
            page = await self._log.read_page(self._checkpoint, sources=(self.source,), limit=_BATCH)
        except UnreadableEvent:
            await self._advance()
            return
        facts = page.events
        if facts and facts[0].epoch != self._epoch:
            await self._advance()
        elif facts and (not await self._apply(facts) or page.full):
            self._woken.set()

    # Reading

    async def _advance(self) -> None:
        self._looks += 1
        head = await self._log.head()
        if self._checkpoint is None or head.epoch != self._epoch or head.position < self.complete_to:
            await self._reload()
            self._complete_to = 0
            self._epoch = head.epoch
        elif self.stopped is not None:
            await self._reload()  # another replica may know the event
        limit = _BATCH
        while True:
            try:
                facts = await self._log.read(self._checkpoint or 0, sources=(self.source,), limit=limit)
            except LogUnavailable:
                raise
            except Exception as unreadable:
                if limit == 1:
                    position = unreadable.position if isinstance(unreadable, UnreadableEvent) else self._checkpoint or 0
                    raise self._stop(position, unreadable) from unreadable
                limit = 1
                continue
            if not facts:
                break
            await self._apply(facts)
        self._complete_to = max(self._complete_to, head.position)
        self._go_on()

    async def _apply(self, facts: Sequence[Recorded]) -> bool:
        """Apply facts that follow on the checkpoint; False if somebody else has moved it meanwhile."""
        rows: list[RowChange] = []
        for number, fact in enumerate(facts):
            try:
                changes = tuple(self._project(fact))
            except Exception as failure:
                if number:
                    await self._write(facts[:number], rows)
                raise self._stop(_position(fact), failure) from failure
            rows.extend(changes)
        return await self._write(facts, rows)

    async def _write(self, facts: Sequence[Recorded], rows: Sequence[RowChange]) -> bool:
        expected, position = self._checkpoint or 0, _position(facts[-1])
        began = time.time_ns()
        try:
            applied = await self._log.apply(self._projection, self.source, expected, position, rows)
        except LogUnavailable:
            raise
        except Exception as failure:
            if len(facts) == 1:
                raise self._stop(position, failure) from failure
            return await self._apply_singly(facts)
        if not applied:
            await self._reload()
            return False
        self._checkpoint = position
        _APPLIED.labels(self._projection, self.source).inc(len(facts))
        if spans.active:
            spans.projected(facts, self._projection, self.source, began)
        return True

    async def _apply_singly(self, facts: Sequence[Recorded]) -> bool:
        """One step for each fact, so that those before one that cannot be applied are."""
        for fact in facts:
            if not await self._apply([fact]):
                return False
        return True

    async def _reload(self) -> None:
        self._checkpoint = (await self._log.checkpoints(self._projection)).get(self.source, 0)

    def _stop(self, position: int, failure: Exception) -> ProjectionStopped:
        stop = Stop(position, type(failure).__name__)
        if stop != self.stopped:
            _log.error(
                "projection_stopped",
                projection=self._projection,
                source=self.source,
                position=position,
                why=stop.why,
            )
        self.stopped = stop
        _STOPPED.labels(self._projection, self.source).set(1)
        return ProjectionStopped(self._projection, self.source)

    def _go_on(self) -> None:
        if self.stopped is not None:
            _log.info("projection_goes_on", projection=self._projection, source=self.source)
        self.stopped = None
        _STOPPED.labels(self._projection, self.source).set(0)


def _position(fact: Recorded) -> int:
    if isinstance(fact.position, Stamp):
        raise TypeError("an event in the log has a position")
    return fact.position
