"""Tells applications of logouts: at least once, a few at a time, and again for most of a day.

Every replica does. What one has taken nobody else takes before it can have ended; what a killed one had taken is due
again. One application has a small share of what is under way, so that one that hangs holds up itself.
"""

import asyncio
import random
from collections import Counter as Counted
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Final

from prometheus_client import Counter, Gauge

from services.registry.events import ResponseAlgorithm
from services.token_issuer.backchannel.logout_token import logout_token
from services.token_issuer.backchannel.tables import Due, LogoutQuestions
from services.token_issuer.issuer import Issuer
from shared.errors import Refusal
from shared.http.outgoing import ATTEMPT_SECONDS, NotSent, Outgoing
from shared.telemetry import course_of, logger

_log = logger(__name__)
_DELIVERED = Counter("stagedoor_logouts_delivered", "Logouts that an application was told of.")
_FAILURES = Counter("stagedoor_logouts_failures", "Attempts that an application did not answer as it should.", ["code"])
_GIVEN_UP = Counter("stagedoor_logouts_given_up", "Logouts that an application could not be told of.")
_UNDELIVERED = Gauge(
    "stagedoor_logouts_undelivered", "Logouts that applications have still to be told of, or never were.", ["state"]
)

WAITS: Final = tuple(timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 3600, 6 * 3600, 12 * 3600))
"""Before the second attempt, the third, and so on; after the last one it is given up."""
AT_ONCE: Final = 64
_EACH: Final = 4
"""Of one application."""
_LEASE: Final = timedelta(seconds=2 * ATTEMPT_SECONDS)
"""An attempt has ended by then, and what a killed process had taken is soon due again."""
_PLANNED_AT_ONCE: Final = 100
_COUNT_SECONDS: Final = 15.0
_TOLD: Final = frozenset({200, 204})
"""Section 2.8: some frameworks turn the one into the other."""


def wait_after(attempts: int) -> timedelta | None:
    """How long to wait after so many attempts that failed; None: no longer."""
    return WAITS[attempts - 1] if attempts <= len(WAITS) else None


class Deliveries:
    """The deliveries of this process."""

    def __init__(self, issuer: Issuer, outgoing: Outgoing, every: float = 1.0) -> None:
        """`every`: seconds between two looks, if there is nothing to do."""
        self._issuer = issuer
        self._outgoing = outgoing
        self._questions = LogoutQuestions(issuer.log.pool)
        self._every = every
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._reached = True
        self._counted_at = float("-inf")

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then is given back by its lease."""
        try:
            while True:
                try:
                    await self._look()
                except Exception as failure:  # noqa: BLE001  (telling of logouts ends no process, and goes on after it)
                    self._is(reached=False, failure=failure)
                else:
                    self._is(reached=True)
                await self._pause()
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            await self._outgoing.close()

    async def _look(self) -> None:
        await self._count()
        await self._plan()
        if (room := AT_ONCE - len(self._under_way)) > 0:
            busy = Counted(self._under_way.values())
            for due in await self._questions.take(busy, limit=room, each=_EACH, lease=_LEASE):
                self._begin(due.client_id, self._deliver(due))

    async def _count(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._counted_at >= _COUNT_SECONDS:
            self._counted_at = now
            waiting, given_up = await self._questions.counted()
            _UNDELIVERED.labels("waiting").set(waiting)
            _UNDELIVERED.labels("given_up").set(given_up)

    async def _plan(self) -> None:
        newest = await self._questions.newest()
        if newest is None:
            return
        # Then whatever the application was before the session ended is known here.
        await self._issuer.following.reach(newest)
        while await self._questions.plan(newest, _PLANNED_AT_ONCE) == _PLANNED_AT_ONCE:
            pass

    def _begin(self, client_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way[task] = client_id
        task.add_done_callback(self._under_way.pop)

    async def _pause(self) -> None:
        """Until somebody has been told, or it is time to look again."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self._every, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(self._every)

    async def _deliver(self, due: Due) -> None:
        try:
            failure = await self._tell(due)
            if failure is None:
                _DELIVERED.inc()
                await self._questions.delivered(due)
            else:
                await self._failed(due, failure)
        except Exception as failure:  # noqa: BLE001  (the lease ends, and it is due again)
            _log.warning("logout_outcome_not_kept", delivery=due.delivery_id, **_told_of(failure))

    async def _tell(self, due: Due) -> str | None:
        """Send it; answers the code of the failure."""
        issuer = self._issuer
        key = (await issuer.keys.active()).signers(ResponseAlgorithm(due.algorithm)).id_token
        token = logout_token(key, issuer.policy.issuer, due.client_id, due.sub, due.sid, issuer.clock())
        try:
            status = await self._outgoing.post(due.uri, {"logout_token": token})
        except NotSent as failure:
            return failure.code
        return None if status in _TOLD else f"status_{status}"

    async def _failed(self, due: Due, failure: str) -> None:
        _FAILURES.labels(failure if not failure.startswith("status_") else "status").inc()
        wait = wait_after(due.attempts + 1)
        told = {"delivery": due.delivery_id, "client_id": due.client_id, "failure": failure}
        if wait is None:
            _GIVEN_UP.inc()
            _log.warning("logout_given_up", **told)
        else:
            wait *= random.uniform(0.8, 1.2)  # noqa: S311  (spreads what failed together, no secret)
            _log.info("logout_not_delivered", **told, seconds_until_next=round(wait.total_seconds()))
        await self._questions.failed(due, failure, wait)

    def _is(self, *, reached: bool, failure: Exception | None = None) -> None:
        if reached != self._reached:
            _log.info("logouts_go_on") if failure is None else _log.warning("logouts_held_up", **_told_of(failure))
        self._reached = reached


def _told_of(failure: Exception) -> dict[str, object]:
    """Its code; of a mistake of ours, where it happened. Texts of others may quote what is nobody's business."""
    if isinstance(failure, Refusal):
        return {"why": failure.code}
    return {"why": type(failure).__name__, "course": course_of(failure)}
