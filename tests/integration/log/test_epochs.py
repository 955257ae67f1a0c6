import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.local.postgres import Postgres
from shared.log.log import Log
from tests.support.postgres import Database, Databases
from tests.support.theatre import OFFICE, TENANTS, sale


async def epochs(database: Database) -> list[tuple[int, int]]:
    async with database.connection() as connection:
        found = await connection.fetch("SELECT epoch, first_position FROM log.epochs ORDER BY epoch")
    return [tuple(row) for row in found]


async def test_an_epoch_begins_with_the_first_append(office: Log, theatre: Database) -> None:
    assert (await office.head()).epoch == 0
    for _ in range(3):
        assert (await office.append(sale())).epoch == 1
    assert await epochs(theatre) == [(1, 1)]


async def test_another_system_is_another_epoch(office: Log, theatre: Database) -> None:
    """As after a dump was restored elsewhere: the row of the old system, and a server that has not looked."""
    first = sale("a")
    await office.append(first)
    async with theatre.connection() as connection:
        await connection.execute("UPDATE log.epochs SET system_identifier = system_identifier + 1")
        assert (await office.append(sale())).epoch == 1, "a running server does not change"
        await connection.execute("UPDATE log.head SET server_started_at = now() - interval '1 day'")
    later = [await office.append(sale()) for _ in range(2)]
    assert [(one.epoch, one.position) for one in later] == [(2, 3), (2, 4)]
    assert await epochs(theatre) == [(1, 1), (2, 3)]
    assert (await office.append(first)).epoch == 1, "a repeated command keeps its own"
    assert [event.epoch for event in await office.read(0)] == [1, 1, 2, 2]


@pytest.fixture
async def own_server(folder_for_servers: Path) -> AsyncIterator[Postgres]:
    server = Postgres(folder_for_servers / "postgres", fsync=False, settings=("restore_command=/bin/false",))
    await server.start()
    yield server
    await server.stop()


async def test_a_restored_back_up_that_lost_a_tail_is_another_epoch(
    own_server: Postgres, folder_for_servers: Path
) -> None:
    async with Databases(own_server).fresh(TENANTS) as theatre:
        theatre.spoiled = True
        log = await theatre.log("office", OFFICE)
        kept = [await log.append(sale()) for _ in range(3)]
        await own_server.stop()
        shutil.copytree(own_server.data, folder_for_servers / "back-up")
        await own_server.start()
        lost = [await log.append(sale()) for _ in range(2)]
        assert [(one.epoch, one.position) for one in (*kept, *lost)] == [(1, n) for n in range(1, 6)]

        await own_server.stop()
        owner = own_server.data.stat()
        shutil.rmtree(own_server.data)
        (folder_for_servers / "back-up").rename(own_server.data)
        (own_server.data / "recovery.signal").touch()
        for path in (own_server.data, *own_server.data.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        await own_server.start()
        assert (await log.head()).position == 3
        again = [await log.append(sale()) for _ in range(2)]
        assert [(one.epoch, one.position) for one in again] == [(2, 4), (2, 5)]
        assert await epochs(theatre) == [(1, 1), (2, 4)]
