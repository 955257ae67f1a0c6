import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.local.postgres import Postgres
from shared.log.append import LogUnavailable
from shared.log.log import Log
from shared.log_feed import LogFeed
from shared.wake import Wake
from stagedoor import Reason, StaticKeys
from stagedoor.denials import DenialView
from stagedoor.token import AccessToken, read
from tests.support.back_up import RESTORABLE, restore, take_back_up
from tests.support.postgres import Database, Databases
from tests.support.sdk_tokens import SigningKey, claims
from tests.support.theatre import ALL, OFFICE, TENANTS, bar, sale
from tests.support.work import Work, eventually


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
    second = later[0].epoch
    assert second > 1
    assert [(one.epoch, one.position) for one in later] == [(second, 3), (second, 4)]
    assert await epochs(theatre) == [(1, 1), (second, 3)]
    assert (await office.append(first)).epoch == 1, "a repeated command keeps its own"
    assert [event.epoch for event in await office.read(0)] == [1, 1, second, second]


@pytest.fixture
async def own_server(folder_for_servers: Path) -> AsyncIterator[Postgres]:
    server = Postgres(folder_for_servers / "postgres", fsync=False, settings=RESTORABLE)
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
        back_up = folder_for_servers / "back-up"
        await take_back_up(own_server, back_up)
        lost = [await log.append(sale()) for _ in range(2)]
        assert [(one.epoch, one.position) for one in (*kept, *lost)] == [(1, n) for n in range(1, 6)]

        again_from = folder_for_servers / "the same back-up"
        shutil.copytree(back_up, again_from)
        await restore(own_server, back_up)
        assert (await log.head()).position == 3
        again = [await log.append(sale()) for _ in range(2)]
        second = again[0].epoch
        assert second > 1
        assert [(one.epoch, one.position) for one in again] == [(second, 4), (second, 5)]
        assert await epochs(theatre) == [(1, 1), (second, 4)]

        began = time.time()
        await eventually(lambda: time.time() >= began + 1)  # no restoration outside of a test is as quick as that
        await restore(own_server, again_from)
        assert await _reached(log) == 3
        third = (await log.append(sale())).epoch
        assert third > second, "what the first restoration gave is taken for what the second one gives"
        assert await epochs(theatre) == [(1, 1), (third, 4)]


async def test_what_the_lost_branch_gave_is_refused_and_what_it_denied_is_forgotten(
    own_server: Postgres, folder_for_servers: Path
) -> None:
    """Positions and numbers of denials are given out twice; a view of the lost branch does not mix the two."""
    async with Databases(own_server).fresh(TENANTS) as theatre:
        theatre.spoiled = True
        office = await theatre.log("office", OFFICE)
        watch = await theatre.log("watch", ALL)
        view = DenialView()
        feed = LogFeed(watch, Wake(watch))
        async with Work() as work:
            await office.append(bar("kept"))
            back_up = folder_for_servers / "back-up"
            await take_back_up(own_server, back_up)
            await office.append(bar("lost"))
            issued = (await office.append(sale())).position
            following = work.start(feed.run(view))
            await eventually(lambda: (view.epoch, view.number, view.position) == (1, 2, issued))
            await work.stop(following)
            assert view.denied(a_token(epoch=1, pos=1, client="lost")) is Reason.DENIED_CLIENT
            assert not view.lost(1, issued)

            await restore(own_server, back_up)
            new = bar("new")

            async def back() -> bool:
                """The appender has noticed that the server is there again; nothing was sent before that."""
                try:
                    return (await office.append(new)).epoch > 1
                except LogUnavailable:
                    return False

            await eventually(back)
            last = await office.append(sale())
            again, epoch = last.position, last.epoch
            assert again == issued

            async def followed() -> bool:
                """It meets the connections that the server took along first."""
                await feed.ping()
                return (view.epoch, view.number, view.position) == (epoch, 2, again)

            await eventually(followed)
        assert view.denied(a_token(epoch=epoch, pos=again, client="lost")) is None
        for client in ("kept", "new"):
            assert view.denied(a_token(epoch=epoch, pos=again, client=client)) is Reason.DENIED_CLIENT
        assert view.lost(1, issued)
        assert not view.lost(epoch, again)


async def _reached(log: Log) -> int:
    """The head, once the connections that the server took along have been met."""
    reached: list[int] = []

    async def answered() -> bool:
        with suppress(LogUnavailable):
            reached.append((await log.head()).position)
        return bool(reached)

    await eventually(answered)
    return reached[0]


def a_token(*, epoch: int, pos: int, client: str = "app") -> AccessToken:
    key = SigningKey()
    said = claims(epoch=epoch, pos=pos, client_id=client)
    token = read(key.sign(said), StaticKeys([key.public]), said["iss"])
    assert isinstance(token, AccessToken)
    return token
