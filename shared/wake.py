"""Tells everybody in a process who waits for the log to grow; one listening connection serves them all."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Collection
from itertools import islice

from shared.log.log import Log, denials_up_to

_REMEMBERED = 64
"""Growths of which it is still known what was said."""


class Wake:
    """A count of the times that the log said it has grown.

    To miss nothing, take `mark` before reading the log, and wait `after` it when there is nothing left to read. Who
    only cares for denials waits `after_denial`, and is left alone by what brings none, which is nearly everything.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._mark = 0
        self._said: deque[Collection[str]] = deque(maxlen=_REMEMBERED)
        self._waiting: dict[asyncio.Future[None], str | None] = {}
        """By each who waits, what does not concern it."""

    @property
    def mark(self) -> int:
        """How often it has been said."""
        return self._mark

    async def run(self) -> None:
        """Listen for ever."""
        changes = self._log.changes()
        try:
            async for said in changes:
                self.wake(said)
        finally:
            if isinstance(changes, AsyncGenerator):
                await changes.aclose()

    def wake(self, said: Collection[str] = ()) -> None:
        """Wake everybody who waits, but for those who know all that was said; nothing said concerns everybody."""
        self._mark += 1
        self._said.append(said)
        for waiting, known in self._waiting.items():
            if not waiting.done() and _concerns(said, known):
                waiting.set_result(None)

    async def after(self, mark: int, timeout: float) -> None:
        """Wait until the log has grown since `mark` was taken, or for `timeout` seconds."""
        if self._mark == mark:
            await self._wait(None, timeout)

    async def after_denial(self, mark: int, epoch: int, number: int, timeout: float) -> None:
        """Wait until the log may have a denial that is not this one since `mark` was taken, or for `timeout` seconds.

        It is asked of each growth whether the log said anything else. Whoever says so without there being one has the
        log looked at once in vain, and cannot make the next word unheard.
        """
        known = denials_up_to(epoch, number)
        since = self._mark - mark
        if since > len(self._said) or any(_concerns(said, known) for said in islice(reversed(self._said), since)):
            return
        await self._wait(known, timeout)

    async def _wait(self, known: str | None, timeout: float) -> None:
        if timeout <= 0:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = known
        try:
            await asyncio.wait((waiting,), timeout=timeout)
        finally:
            del self._waiting[waiting]


def _concerns(said: Collection[str], known: str | None) -> bool:
    return not said or any(each != known for each in said)
