"""Questions to a service's own tables: bounded in time, and with one answer where the database is out of reach."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import asyncpg

from shared.log.append import LogUnavailable

T = TypeVar("T")
Q = TypeVar("Q")
A = TypeVar("A")

SECONDS = 3.0
"""How long a question may take, the wait for a free connection included."""

OUT_OF_REACH = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""How it shows that the database cannot be asked now; any other error is a mistake of ours."""


async def ask(answer: Awaitable[T]) -> T:
    """The answer to a question, or `LogUnavailable`: reads and writes need the same database."""
    try:
        async with asyncio.timeout(SECONDS):
            return await answer
    except OUT_OF_REACH as failure:
        raise LogUnavailable from failure


_MOST_TOGETHER = 256
_UNDER_WAY = 2
"""Statements at once: one that is slow does not hold up what was asked after it."""


class Together(Generic[Q, A]):
    """Asks what is asked at the same moment in one statement. All of it belongs to one event loop.

    Nobody is waited for: a lone question goes out at once, and while statements are under way others gather for the
    next one. So each question is answered from after it was asked, as if it had been asked alone.
    """

    def __init__(self, ask_all: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        """`ask_all` answers some questions in their order. It is bounded in time and raises `LogUnavailable`."""
        self._ask_all = ask_all
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._working: set[asyncio.Task[None]] = set()
        self._under_way = 0
        """Of those, how many still look for what waits: a task that is over stays in the set for a moment longer."""

    async def ask(self, question: Q) -> A:
        """The answer to one."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._under_way < _UNDER_WAY:
            self._under_way += 1
            task = asyncio.create_task(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(_MOST_TOGETHER, len(self._waiting)))]
                await self._answer([asked for asked in group if not asked[1].done()])
        finally:
            self._under_way -= 1

    async def _answer(self, group: Sequence[tuple[Q, "asyncio.Future[A]"]]) -> None:
        if not group:
            return
        try:
            answers = await self._ask_all([question for question, _ in group])
        except LogUnavailable as failure:
            for _, waiting in group:
                _fail(waiting, LogUnavailable(failure.message))
        except Exception as failure:  # noqa: BLE001  (whose fault it is shows when each is asked alone)
            if len(group) == 1:
                _fail(group[0][1], failure)
                return
            for asked in group:
                await self._answer([asked])
        else:
            for (_, waiting), answer in zip(group, answers, strict=True):
                if not waiting.done():
                    waiting.set_result(answer)


def _fail(waiting: "asyncio.Future[A]", failure: Exception) -> None:
    if not waiting.done():
        waiting.set_exception(failure)
