"""Tells everybody in a process who waits for the log to grow; one listening connection serves them all."""

import asyncio
from collections.abc import AsyncGenerator

from shared.log.log import Log


class Wake:
    """A count of the times that the log said it has grown.

    To miss nothing, take `mark` before reading the log, and wait `after` it when there is nothing left to read.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._mark = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def mark(self) -> int:
        """How often it has been said."""
        return self._mark

    async def run(self) -> None:
        """Listen for ever."""
        changes = self._log.changes()
        try:
            async for _ in changes:
                self.wake()
        finally:
            if isinstance(changes, AsyncGenerator):
                await changes.aclose()

    def wake(self) -> None:
        """Wake everybody who waits."""
        self._mark += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def after(self, mark: int, timeout: float) -> None:
        """Wait until the log has grown since `mark` was taken, or for `timeout` seconds."""
        if self._mark != mark or timeout <= 0:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await asyncio.wait((waiting,), timeout=timeout)
        finally:
            self._waiting.discard(waiting)
