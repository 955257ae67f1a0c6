"""How far the view of one source has come, and how it goes on.

There are two ways on: messages, each of which names the position before it, and the log itself, which is read
wherever messages do not follow on one another. Both end in one statement of the database that changes rows and
checkpoint together, and only if the checkpoint still is where the step began. So it does not matter how many
replicas feed the same tables, nor how often or in which order messages arrive.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge

from shared.errors import Unavailable
from shared.handle import Project
from shared.log.append import LogUnavailable
from shared.log.codec import UnreadableEvent, has_personal_fields
from shared.log.event import Recorded, RowChange, Stamp
from shared.log.log import Log
from shared.messaging.message import Incoming
from shared.telemetry import logger

_log = logger(__name__)
_APPLIED = Counter("stagedoor_follower_events", "Events applied to a projection.", ["projection", "source", "by"])
_GAPS = Counter("stagedoor_follower_gaps", "Times that messages did not follow on.", ["projection", "source"])
_STOPPED = Gauge("stagedoor_follower_stopped", "1 while an event cannot be applied.", ["projection", "source"])

_BATCH = 500
"""Events of one step."""


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
        self._log = log
        self._projection = projection
        self._project = project
        self._lock = asyncio.Lock()
        self._pending: list[Incoming] = []
        self._checkpoint: int | None = None
        self._complete_to = 0
        self._epoch = 0

    @property
    def checkpoint(self) -> int | None:
        """Position of the last event applied, as far as this process knows; None before it has looked."""
        return self._checkpoint

    @property
    def complete_to(self) -> int:
        """Every event of the source up to here has been applied."""
        return max(self._complete_to, self._checkpoint or 0)

    async def advance(self, past: int) -> None:
        """Go on by reading the log, unless the view is complete up to `past` already.

        Raises `LogUnavailable`, or `ProjectionStopped` if an event cannot be applied.
        """
        async with self._lock:
            if self._checkpoint is None or self.stopped is not None or self.complete_to < past:
                await self._advance()

    async def take(self, message: Incoming) -> bool:
        """Go on by a message, together with those that arrived meanwhile; whether it is done with."""
        if message.position is None:
            _log.warning("message_not_ours", source=self.source, projection=self._projection)
            return True
        if self.stopped is not None:
            return False
        self._pending.append(message)
        try:
            async with self._lock:
                batch, self._pending = self._pending, []
                await self._take(batch)
        except (LogUnavailable, ProjectionStopped):
            return False
        return message.position <= (self._checkpoint or 0)

    async def _take(self, batch: Sequence[Incoming]) -> None:
        if self._checkpoint is None:
            await self._advance()
        facts, followed_on = self._following(batch)
        if facts and not await self._apply(facts, "message"):
            followed_on = False
        if not followed_on:
            _GAPS.labels(self._projection, self.source).inc()
            await self._advance()

    def _following(self, batch: Sequence[Incoming]) -> tuple[list[Recorded], bool]:
        """The facts that follow on the checkpoint without a gap, and whether that is all there is."""
        facts: list[Recorded] = []
        last = self._checkpoint or 0
        for message in sorted(batch, key=lambda message: message.position or 0):
            position = message.position or 0
            if position <= last:
                continue
            if message.previous != last or message.epoch != self._epoch:
                return facts, False
            try:
                fact = message.recorded(self._log.catalogue)
            except ValueError:
                return facts, False
            if self._log.personal_keys is not None and has_personal_fields(type(fact.event)):
                return facts, False  # the log opens it
            facts.append(fact)
            last = position
        return facts, True

    async def _advance(self) -> None:
        head = await self._log.head()
        if self._checkpoint is None or head.epoch != self._epoch:
            await self._reload()
            self._complete_to = 0
            self._epoch = head.epoch
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
            await self._apply(facts, "log")
        self._complete_to = max(self._complete_to, head.position)
        self._go_on()

    async def _apply(self, facts: Sequence[Recorded], by: str) -> bool:
        """Apply facts that follow on the checkpoint; False if somebody else has moved it meanwhile."""
        rows: list[RowChange] = []
        for number, fact in enumerate(facts):
            try:
                changes = tuple(self._project(fact))
            except Exception as failure:
                if number:
                    await self._write(facts[:number], rows, by)
                raise self._stop(_position(fact), failure) from failure
            rows.extend(changes)
        return await self._write(facts, rows, by)

    async def _write(self, facts: Sequence[Recorded], rows: Sequence[RowChange], by: str) -> bool:
        expected, position = self._checkpoint or 0, _position(facts[-1])
        try:
            applied = await self._log.apply(self._projection, self.source, expected, position, rows)
        except LogUnavailable:
            raise
        except Exception as failure:
            if len(facts) == 1:
                raise self._stop(position, failure) from failure
            return await self._apply_singly(facts, by)
        if not applied:
            await self._reload()
            return False
        self._checkpoint = position
        _APPLIED.labels(self._projection, self.source, by).inc(len(facts))
        return True

    async def _apply_singly(self, facts: Sequence[Recorded], by: str) -> bool:
        """One step for each fact, so that those before one that cannot be applied are."""
        for fact in facts:
            if not await self._apply([fact], by):
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
