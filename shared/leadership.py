"""Which of several replicas does a piece of work.

Whoever leads holds a lock of the log, in a transaction that does nothing else. Leadership only saves work: whatever a
leader writes has to be right also while there are two of them, because one may have been paused in the middle of
anything and go on.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from shared.telemetry import logger

_log = logger(__name__)

_IDLE_MILLISECONDS = 3000
"""So long may a leader say nothing before PostgreSQL ends its transaction: a stopped one does not lead for ever."""
_PING_SECONDS = 1.0
_ANSWER_SECONDS = 2.0
_RETRY_SECONDS = 1.0
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""The client's internal error is what a connection can say that is lost while it is in use."""


class Leadership:
    """A candidate for leading the caretakers of a log."""

    def __init__(self, dsn: str, password: str, work: str) -> None:
        """`work` is a name for it."""
        self._dsn = dsn
        self._password = password
        self._work = work
        self.leading = False

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` whenever this process leads, for ever; it is cancelled when leadership is lost.

        What `work` raises is raised here.
        """
        while True:
            connection = await self._elected()
            if connection is not None:
                await self._lead(connection, work)
            await asyncio.sleep(_RETRY_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311  (spreads replicas, no secret)

    async def _elected(self) -> asyncpg.Connection | None:
        """The connection that holds the lock, or None if somebody else has it or PostgreSQL is out of reach."""
        try:
            connection = await asyncpg.connect(
                self._dsn,
                password=self._password,
                timeout=_ANSWER_SECONDS,
                command_timeout=_ANSWER_SECONDS,
                server_settings={
                    "application_name": f"leader of {self._work}",
                    "idle_in_transaction_session_timeout": str(_IDLE_MILLISECONDS),
                },
            )
        except _FAILURES:
            return None
        try:
            await connection.execute("BEGIN")
            if await connection.fetchval("SELECT log.lead()"):
                return connection
        except _FAILURES:
            connection.terminate()
            return None
        with suppress(*_FAILURES):
            await connection.close(timeout=_ANSWER_SECONDS)
        return None

    async def _lead(self, connection: asyncpg.Connection, work: Callable[[], Awaitable[None]]) -> None:
        _log.info("leading", work=self._work)
        self.leading = True
        working = asyncio.ensure_future(work())
        try:
            while not working.done():
                await connection.execute("SELECT 1")
                await asyncio.wait((working,), timeout=_PING_SECONDS)
        except _FAILURES:
            _log.info("leading_no_more", work=self._work)
        finally:
            self.leading = False
            await _cancelled(working)
            connection.terminate()
        if not working.cancelled():
            working.result()


async def _cancelled(task: "asyncio.Future[None]") -> None:
    task.cancel()
    await asyncio.wait((task,))
