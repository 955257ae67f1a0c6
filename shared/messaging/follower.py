"""Feeds a service's tables from other services' facts, which are read from the log.

Messages on NATS only say when there is something to read; without NATS the log is looked at once a second. So whoever
publishes on NATS has no say in what the tables hold. The events are also published as plain messages, to whoever
listens at the moment; that is all a follower needs, and it has no rights over the stream.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from nats.aio.msg import Msg

from shared.errors import Unavailable
from shared.handle import Project
from shared.http.operations import Check
from shared.log.append import LogUnavailable
from shared.log.log import Log
from shared.messaging.access import NatsAccess, events_of
from shared.messaging.message import claimed_position
from shared.messaging.session import Session, keep
from shared.messaging.view import ProjectionStopped, View
from shared.telemetry import course_of, logger

_log = logger(__name__)

POLL_SECONDS = 1.0
"""How often the log itself is looked at; so far is a view behind at most while NATS is gone."""
WAIT_SECONDS = 2.0
"""How long `catch_up` and `reach` try."""
_LOOK_AGAIN_SECONDS = 0.02
_TOO_LONG_SECONDS = 10.0
_MOST_PENDING = 1000
"""Messages that may wait to be heard; what comes on top is dropped, since those that wait wake the view as well."""


class Follower:
    """Keeps the views of `projection` on each of `sources` complete. Any number of replicas may run one."""

    def __init__(
        self, log: Log, projection: str, sources: Sequence[str], project: Project, nats: NatsAccess | None
    ) -> None:
        self._log = log
        self._projection = projection
        self._views = {source: View(log, projection, source, project) for source in sources}
        self._nats = nats
        self._head = 0
        self._asking = asyncio.Lock()
        self._looked_at: float | None = None
        self._log_reached: bool | None = None
        self._nats_reached = False

    async def run(self) -> None:
        """Go on for ever, with NATS and without; ends only by being cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poll())
            if self._nats is not None:
                tasks.create_task(keep(self._nats, f"following for {self._projection}", self._listen))
                for view in self._views.values():
                    tasks.create_task(view.look_when_woken())

    async def catch_up(self, source: str, position: int) -> None:
        """Bring the view of a source up to a position that is in the log, and seems to be missing, by reading the log.

        Raises `Unavailable` if that does not work within `WAIT_SECONDS`.
        """
        view = self._views.get(source)
        if view is None:
            raise Unavailable("view_behind", f"{source} is not followed here")
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await view.advance(position, anew=True)
        except TimeoutError:
            raise Unavailable("view_behind", f"the view of {source} could not be brought up to date in time") from None
        if view.complete_to < position:
            raise Unavailable("view_behind", f"the view of {source} has not come to position {position} yet")

    @property
    def complete_to(self) -> int:
        """The position up to which all views are complete: what is asked of their tables from now on is, too."""
        return min((view.complete_to for view in self._views.values()), default=self._head)

    @property
    def epoch(self) -> int:
        """The epoch of the log that `complete_to` is a position of; 0: not of one alone."""
        epochs = {view.epoch for view in self._views.values()}
        return epochs.pop() if len(epochs) == 1 else 0

    async def reach(self, position: int, epoch: int | None = None) -> None:
        """Wait until all views are complete up to a position, which may not be in the log yet.

        `epoch`: that of the log, where it was read with the position. Raises `Unavailable` if that does not happen
        within `WAIT_SECONDS`.
        """
        if all(view.complete(position, epoch) for view in self._views.values()):
            return
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                if epoch is None:
                    await self._await_head(position)
                for view in self._views.values():
                    await view.advance(position, epoch)
        except TimeoutError:
            raise Unavailable("view_behind", f"position {position} was not reached in time") from None

    def readiness(self) -> Check:
        """Whether the views are being kept complete, and how far behind the last known head they are."""
        stopped = {source: view.stopped for source, view in self._views.items() if view.stopped is not None}
        lag = self._head - self.complete_to
        if stopped:
            told = ", ".join(f"{source} at {stop.position} ({stop.why})" for source, stop in stopped.items())
            return Check(ok=False, detail=f"stopped: {told}", lag=max(0, lag))
        if self._looked_at is None or time.monotonic() - self._looked_at > _TOO_LONG_SECONDS:
            return Check(ok=False, detail="the log has not been followed for a while", lag=max(0, lag))
        wire = "over NATS" if self._nats_reached else "by polling, without NATS"
        return Check(ok=True, detail=wire, lag=max(0, lag))

    async def _await_head(self, position: int) -> None:
        """Return when the head is known to have come to a position; all who wait share the questions."""
        while self._head < position:
            async with self._asking:
                if self._head < position:
                    self._head = max(self._head, (await self._log.head()).position)
                    if self._head < position:
                        await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _poll(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self) -> None:
        try:
            asked_at = time.monotonic()
            head = await self._log.head()
            self._head = head.position
            for view in self._views.values():
                with suppress(ProjectionStopped):  # said once by the view; tried again at the next look
                    await view.follow(head)
                view.lag.look(asked_at, head.position, view.complete_to)
        except LogUnavailable:
            self._log_is(reached=False)
        except Exception as failure:  # noqa: BLE001  (a view that is late is safe, one that has ended is not)
            _log.error("look_failed", projection=self._projection, course=course_of(failure), why=repr(type(failure)))
            self._log_is(reached=False)
        else:
            self._looked_at = time.monotonic()
            self._log_is(reached=True)

    async def _listen(self, session: Session) -> None:
        """Wake each view by what is published of its source, until the connection is gone."""
        for view in self._views.values():
            await session.client.subscribe(events_of(view.source), cb=_waking(view), pending_msgs_limit=_MOST_PENDING)
        await session.client.flush()
        session.goes_on()
        self._nats_reached = True
        try:
            for view in self._views.values():
                view.hear(None)  # what was published before anybody listened
            await session.closed.wait()
            session.check()
        finally:
            self._nats_reached = False

    def _log_is(self, *, reached: bool) -> None:
        if reached != self._log_reached and not (reached and self._log_reached is None):
            _log.info("log_reached" if reached else "log_out_of_reach", projection=self._projection)
        self._log_reached = reached


def _waking(view: View) -> Callable[[Msg], Awaitable[None]]:
    async def heard(message: Msg) -> None:
        view.hear(claimed_position(message.headers or {}))

    return heard
