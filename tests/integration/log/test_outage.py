import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from infra.local.postgres import Postgres
from infra.local.process import until
from shared.log.append import LogUnavailable
from shared.log.log import Log
from tests.support.postgres import Database, Databases
from tests.support.theatre import OFFICE, TENANTS, positions, sale


@pytest.fixture
async def own_server(folder_for_servers: Path) -> AsyncIterator[Postgres]:
    server = Postgres(folder_for_servers / "postgres", fsync=False)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def own(own_server: Postgres) -> AsyncIterator[Database]:
    async with Databases(own_server).fresh(TENANTS) as fresh:
        fresh.spoiled = True
        yield fresh


async def works_again(log: Log) -> bool:
    try:
        await log.append(sale())
    except LogUnavailable:
        return False
    return True


async def test_without_the_server_everything_says_so_in_time_and_then_works_again(
    own: Database, own_server: Postgres
) -> None:
    log = await own.log("office", OFFICE)
    acknowledged = [(await log.append(sale())).position for _ in range(3)]
    async with aclosing(log.changes()) as changes:
        await anext(changes)
        await own_server.kill()
        async with asyncio.timeout(10):
            answers = await asyncio.gather(
                *(log.append(sale()) for _ in range(50)), log.head(), log.read(0), log.load("x"), return_exceptions=True
            )
        assert {type(answer) for answer in answers} == {LogUnavailable}
        await anext(changes)
        await own_server.start()
        async with asyncio.timeout(10):
            while not await works_again(log):
                await anext(changes)
            await anext(changes)
    assert (await log.head()).position >= 4
    found = await positions(own)
    assert found == list(range(1, len(found) + 1))
    assert acknowledged == [1, 2, 3]


async def test_a_server_that_was_killed_has_every_acknowledged_event(own: Database, own_server: Postgres) -> None:
    log = await own.log("office", OFFICE)
    acknowledged: dict[str, int] = {}
    enough = asyncio.Event()

    async def sell(number: int) -> None:
        append = sale(str(number))
        try:
            acknowledged[append.stream] = (await log.append(append)).position
        except LogUnavailable:
            return
        if len(acknowledged) == 100:
            enough.set()

    selling = [asyncio.create_task(sell(number)) for number in range(600)]
    await enough.wait()
    await own_server.kill()
    await own_server.start()
    await asyncio.gather(*selling)
    assert await until(lambda: works_again(log), 30)
    stored = {event.stream: event.position for event in await log.read(0, limit=1000)}
    assert acknowledged.items() <= stored.items()
    assert await positions(own) == list(range(1, len(stored) + 1))


async def test_a_server_that_hangs_is_not_waited_for_without_end(own: Database, own_server: Postgres) -> None:
    log = await own.log("office", OFFICE)
    await log.append(sale())
    own_server.pause()
    try:
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(log.append(sale()) for _ in range(10)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {LogUnavailable}
    finally:
        own_server.resume()
    assert await until(lambda: works_again(log), 30)
    found = await positions(own)
    assert found == list(range(1, len(found) + 1))
    assert len(found) <= 22


async def test_closing_finishes_what_was_begun(own: Database) -> None:
    log = await own.log("office", OFFICE)
    selling = [asyncio.create_task(log.append(sale())) for _ in range(300)]
    await asyncio.sleep(0)
    await log.close()
    assert sorted([one.position for one in await asyncio.gather(*selling)]) == list(range(1, 301))
    with pytest.raises(LogUnavailable):
        await log.append(sale())


async def test_a_server_in_recovery_can_be_read_and_that_is_all(own: Database, own_server: Postgres) -> None:
    """As a standby that is not promoted yet, or a back-up on its way to the end of what it has."""
    log = await own.log("office", OFFICE)
    first = await log.append(sale())
    async with aclosing(log.changes()) as changes:
        await anext(changes)
        await own_server.stop()
        (own_server.data / "standby.signal").touch()
        await own_server.start()
        async with asyncio.timeout(20):
            for _ in range(3):  # it cannot be listened to there
                await anext(changes)
            assert (await log.head()).position == first.position
            with pytest.raises(LogUnavailable):
                await log.append(sale())
            async with own.connection() as connection:
                await connection.execute("SELECT pg_promote()")
            while not await works_again(log):
                await anext(changes)
            await anext(changes)
    assert await positions(own) == list(range(1, (await log.head()).position + 1))
