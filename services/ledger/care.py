"""Looks after the log: makes partitions that will be needed, drops expired once-keys, prunes what can match nothing.

All of it is one function of the log, which only the ledger's login may call. The leader calls it on a timer; every
replica looks at how the log is, so the alarm does not depend on the one that should have taken care.
"""

import asyncio
from dataclasses import dataclass

import asyncpg
from prometheus_client import Counter, Gauge

from shared.http.operations import Check
from shared.log.append import LogUnavailable
from shared.log.log import Log
from shared.questions import OUT_OF_REACH, ask
from shared.telemetry import logger

_log = logger(__name__)
_CHANGES = Counter("stagedoor_care_changes", "What the care of the log has changed.", ["what"])
_FAILURES = Counter("stagedoor_care_failures", "Times that the care of the log failed.")
_CARED_AT = Gauge(
    "stagedoor_care_last_success_seconds", "When the log was last looked after, by any replica (Unix time)."
)
_POSITIONS = Gauge("stagedoor_log_positions_ahead", "Positions for which there are partitions.")
_DAYS = Gauge("stagedoor_log_once_days_ahead", "Days for which there are partitions of once-keys.")
_SYNCHRONOUS = Gauge("stagedoor_log_synchronous_replication", "Whether a commit waits for another server.")

_CHANGED = ("event_partitions_made", "once_partitions_made", "once_partitions_dropped", "denials_pruned")
_PAUSE_SECONDS = 0.1
"""After a page of denials: appends may have waited for it."""
_RETRY_SECONDS = 10.0
_LOOK_SECONDS = 10.0
_FAILED = (LogUnavailable, *OUT_OF_REACH, asyncpg.PostgresError)
"""None of these ends the leader, who has other work too: they are counted, and tried again."""


@dataclass(frozen=True, slots=True)
class Condition:
    """How the log was at a look."""

    cared_at: float | None
    """On the loop's clock; None: never."""
    synchronous: bool


class Care:
    """The care of one log."""

    def __init__(self, log: Log, every_seconds: float, alarm_seconds: float) -> None:
        self._log = log
        self._every = every_seconds
        self._alarm = alarm_seconds
        self._condition: Condition | None = None

    async def take(self) -> None:
        """The leader's work: look after the log, again and again; for ever, whatever happens."""
        while True:
            try:
                await self._take()
            except _FAILED as failure:
                _FAILURES.inc()
                _log.warning("care_failed", error=type(failure).__name__)
                await asyncio.sleep(min(_RETRY_SECONDS, self._every))
            else:
                await asyncio.sleep(self._every)

    async def watch(self) -> None:
        """Every replica's work: look at how the log is; for ever."""
        while True:
            try:
                await self._look()
            except _FAILED as failure:
                _log.debug("condition_unknown", error=type(failure).__name__)
            await asyncio.sleep(_LOOK_SECONDS)

    def readiness(self) -> Check:
        """Whether the log is being looked after."""
        if self._condition is None:
            return Check(ok=False, detail="not known yet")
        if self._condition.cared_at is None:
            return Check(ok=False, detail="the log was never looked after")
        ago = asyncio.get_running_loop().time() - self._condition.cared_at
        if ago > self._alarm:
            return Check(ok=False, detail=f"the log was last looked after {ago / 60:.0f} minutes ago")
        return Check(ok=True, detail=f"looked after {max(0.0, ago):.0f} seconds ago")

    def replication(self, *, required: bool, demo: bool) -> Check:
        """Whether what is acknowledged outlives the server that acknowledged it."""
        if self._condition is None:
            return Check(ok=not required, detail="not known yet")
        if self._condition.synchronous:
            return Check(ok=True, detail="synchronous")
        if demo:
            return Check(ok=True, detail="demo mode: one server")
        detail = "PostgreSQL runs without synchronous replication: what is acknowledged can be lost with its server"
        return Check(ok=not required, detail=detail)

    async def _take(self) -> None:
        after: int | None = 0
        while after is not None:
            changed = await self._log.pool.fetchrow("SELECT * FROM log.care($1)", after)
            after = changed["next_after"]
            found = {what: changed[what] for what in _CHANGED if changed[what]}
            if found:
                _log.info("care_taken", **found)
            for what, number in found.items():
                _CHANGES.labels(what).inc(number)
            await asyncio.sleep(_PAUSE_SECONDS)
        await self._look()

    async def _look(self) -> None:
        found = await ask(self._log.pool.fetchrow("SELECT * FROM log.condition()"))
        ago, now = found["care_seconds_ago"], asyncio.get_running_loop().time()
        self._condition = Condition(None if ago is None else now - ago, found["synchronous"])
        if ago is not None:
            _CARED_AT.set_to_current_time()
            _CARED_AT.dec(ago)
        _POSITIONS.set(found["positions_ahead"])
        _DAYS.set(found["days_ahead"])
        _SYNCHRONOUS.set(found["synchronous"])
