"""Connections to the database for questions, each of which is one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter
from typing import Any, TypeVar

import asyncpg

from shared.log import measures

T = TypeVar("T")

_CLOSE_SECONDS = 2.0
_GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
"""The server, or the way to it, is gone."""


class Connections:
    """A few connections, made when they are needed, each used by one statement at a time.

    A general pool cleans a connection up whenever it comes back, which is one more statement for each question. Here
    nothing is ever left behind that would need it: there are no transactions, and a connection that may not have
    finished what it was asked is given up.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], most: int) -> None:
        """`connect` opens a connection, bounded in time; `most` are in use at once, and others wait."""
        self._connect = connect
        self._free: list[asyncpg.Connection] = []
        self._room = asyncio.Semaphore(most)
        self._closed = False

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """All rows."""
        return await self._ask(lambda connection: connection.fetch(statement, *arguments))

    async def fetchrow(self, statement: str, *arguments: object) -> Any:
        """The first row, or None."""
        return await self._ask(lambda connection: connection.fetchrow(statement, *arguments))

    async def fetchval(self, statement: str, *arguments: object) -> Any:
        """The first value of the first row, or None."""
        return await self._ask(lambda connection: connection.fetchval(statement, *arguments))

    async def execute(self, statement: str, *arguments: object) -> str:
        """What the server says was done."""
        return await self._ask(lambda connection: connection.execute(statement, *arguments))

    async def close(self) -> None:
        """Let go of them; those that are in use end with what they are asked."""
        self._closed = True
        free, self._free = self._free, []
        await asyncio.gather(*(one.close(timeout=_CLOSE_SECONDS) for one in free), return_exceptions=True)

    async def _ask(self, ask: Callable[[asyncpg.Connection], Coroutine[Any, Any, T]]) -> T:
        asked_at = perf_counter() if self._room.locked() else 0.0
        async with self._room:
            if asked_at:
                measures.pool_waited(perf_counter() - asked_at)
            if self._closed:
                raise asyncpg.InterfaceError("the connections are closed")
            connection = self._take() or await self._make()
            try:
                answer = await ask(connection)
            except _GONE:
                connection.terminate()
                self._give_up_the_others()
                raise
            except asyncpg.PostgresError:  # it was answered, so the connection is where it was before
                self._give_back(connection)
                raise
            except BaseException:
                connection.terminate()
                raise
            self._give_back(connection)
            return answer

    async def _make(self) -> asyncpg.Connection:
        began = perf_counter()
        connection = await self._connect()
        measures.pool_connected(perf_counter() - began)
        return connection

    def _take(self) -> asyncpg.Connection | None:
        """One that is open: the one that was used last, so that what is not needed stays unused."""
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        return None

    def _give_up_the_others(self) -> None:
        """What took one connection has mostly taken all; a question that is asked again needs a new one."""
        for connection in self._free:
            connection.terminate()
        self._free.clear()

    def _give_back(self, connection: asyncpg.Connection) -> None:
        if self._closed:
            connection.terminate()
        elif not connection.is_closed():
            self._free.append(connection)
