"""Work that runs beside a test, and waiting for what it brings about."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import pytest


class Work:
    """Tasks that a test starts; a failure of one fails the test at its end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def stop(self, task: asyncio.Task[Any]) -> None:
        """Cancel it wherever it is, and wait until it is gone."""
        task.cancel()
        await asyncio.wait((task,))
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in tuple(self._tasks):
            await self.stop(task)


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    """Background work, ended with the test."""
    async with Work() as running:
        yield running


async def eventually(condition: Callable[[], Awaitable[bool] | bool], seconds: float = 15.0) -> None:
    """Return when the condition holds; fail the test if it does not within the time."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)
