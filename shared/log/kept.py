"""Connections for what is asked of the database with every request."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg


class Kept:
    """Connections that are kept for statements asked all the time; each is used by one statement at a time.

    A pool cleans a connection up whenever it comes back, which is a statement of its own. Here nothing is ever left
    behind that would need it: a connection that may not have finished what it was asked is given up.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        """`connect` opens a connection, bounded in time."""
        self._connect = connect
        self._free: list[asyncpg.Connection] = []
        self._closed = False

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """The rows that answer a statement."""
        if self._closed:
            raise asyncpg.InterfaceError("the connections are closed")
        connection = self._free.pop() if self._free else await self._connect()
        try:
            rows: list[Any] = await connection.fetch(statement, *arguments)
        except asyncpg.PostgresError:  # it was answered, so the connection is where it was before
            self._keep(connection)
            raise
        except BaseException:
            connection.terminate()
            raise
        self._keep(connection)
        return rows

    def close(self) -> None:
        """Let go of them."""
        self._closed = True
        while self._free:
            self._free.pop().terminate()

    def _keep(self, connection: asyncpg.Connection) -> None:
        if self._closed:
            connection.terminate()
        elif not connection.is_closed():
            self._free.append(connection)
