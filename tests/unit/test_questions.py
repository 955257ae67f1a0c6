"""A database that is out of reach has one name, however it shows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from shared import leadership
from shared.leadership import Leadership
from shared.log.append import LogUnavailable
from shared.questions import ask
from tests.support.work import Work, eventually

# A connection that is lost while it is in use can say the last one: `cannot switch to state 11`.
LOST = (
    ConnectionResetError(),
    TimeoutError(),
    asyncpg.AdminShutdownError(),
    asyncpg.InterfaceError("the connection is closed"),
    asyncpg.InternalClientError("cannot switch to state 11"),
)


@pytest.mark.parametrize("failure", LOST, ids=lambda failure: type(failure).__name__)
async def test_a_lost_database_is_out_of_reach(failure: Exception) -> None:
    async def question() -> int:
        raise failure

    with pytest.raises(LogUnavailable):
        await ask(question())


async def test_a_mistake_is_told_as_it_is() -> None:
    async def question() -> int:
        raise asyncpg.UndefinedTableError

    with pytest.raises(asyncpg.UndefinedTableError):
        await ask(question())


class Connection:
    """Leads, and is lost at the fourth word."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure
        self._said = 0

    async def fetchval(self, *_: object) -> bool:
        return True

    async def execute(self, *_: object) -> None:
        self._said += 1
        if self._said == 3:
            raise self._failure

    def terminate(self) -> None:
        pass


@asynccontextmanager
async def leading(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async with Work() as running:
        running.start(Leadership("postgresql:///none", "none", "the work of a test").run(work))
        yield


@pytest.mark.parametrize("failure", LOST, ids=lambda failure: type(failure).__name__)
async def test_a_leader_whose_connection_is_lost_leads_again(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(*_: object, **__: object) -> Connection:
        return Connection(failure)

    monkeypatch.setattr("asyncpg.connect", connect)
    monkeypatch.setattr(leadership, "_PING_SECONDS", 0.01)
    monkeypatch.setattr(leadership, "_RETRY_SECONDS", 0.01)
    begun: list[None] = []

    async def work() -> None:
        begun.append(None)
        await asyncio.Event().wait()

    async with leading(work):
        await eventually(lambda: len(begun) > 2)
