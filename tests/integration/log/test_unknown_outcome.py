import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
from msgspec.structs import replace

from infra.local.process import until
from shared.log.append import LogUnavailable
from shared.log.event import Put, Stamp
from shared.log.log import Log
from tests.support.postgres import Database, password
from tests.support.theatre import OFFICE, positions, sale
from tests.support.wire import Wire, wire

ROOT = Path(__file__).resolve().parents[3]


@asynccontextmanager
async def gate_held(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Nobody can append meanwhile."""
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE log.gate IN EXCLUSIVE MODE")
        try:
            yield connection
        finally:
            await transaction.rollback()


def at_the_gate(connection: asyncpg.Connection, number: int = 1) -> Callable[[], Awaitable[bool]]:
    async def waiting() -> bool:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE relation = 'log.gate'::regclass AND NOT granted"
        )
        return found == number

    return waiting


@pytest.fixture
async def cut(theatre: Database) -> AsyncIterator[tuple[Wire, Log]]:
    """An office whose connections can be cut."""
    with tempfile.TemporaryDirectory(prefix="wire-") as folder:
        async with wire(theatre.server.socket_folder, Path(folder)) as made:
            dsn = theatre.dsn("office").replace(str(theatre.server.socket_folder), folder)
            log = await Log.open(dsn, password("office"), OFFICE)
            await log.append(sale("first", rows=(Put("tickets", {"id": "first"}),)))
            yield made, log
            await log.close()


@pytest.mark.parametrize("version", [0, None], ids=["versions", "single"])
@pytest.mark.parametrize("answers", [1, 3])
async def test_an_append_whose_answer_was_lost_is_acknowledged_once(
    cut: tuple[Wire, Log], theatre: Database, version: int | None, answers: int
) -> None:
    wire, log = cut
    row = Put("tickets", {"id": "x", "position": Stamp.POSITION})
    append = replace(sale("x", rows=(row,)), expected_version=version)
    wire.swallow(answers)
    done = await log.append(append)
    assert wire.swallowing == 0
    assert done.position == 2
    assert await positions(theatre) == [1, 2]
    assert await log.pool.fetchval("SELECT position FROM tickets WHERE id = 'x'") == 2


async def test_many_whose_answer_was_lost_are_each_acknowledged_once(cut: tuple[Wire, Log], theatre: Database) -> None:
    wire, log = cut
    appends = [sale(version=0 if number % 2 else None) for number in range(100)]
    waiting = [asyncio.create_task(log.append(append)) for append in appends]
    wire.swallow()
    done = await asyncio.gather(*waiting)
    assert wire.swallowing == 0
    assert sorted(one.position for one in done) == list(range(2, 102))
    assert await positions(theatre) == list(range(1, 102))
    for append, one in zip(appends, done, strict=True):
        (event,) = (await log.load(append.stream)).events
        assert event.position == one.position


@pytest.mark.parametrize("version", [0, None], ids=["versions", "single"])
async def test_one_that_still_waits_at_the_gate_is_not_overtaken_by_its_repetition(
    cut: tuple[Wire, Log], theatre: Database, version: int | None
) -> None:
    wire, log = cut
    async with gate_held(theatre) as holder:
        wire.cut_when_asked()
        waiting = asyncio.create_task(log.append(replace(sale("x"), expected_version=version)))
        async with asyncio.timeout(30):
            await wire.asked.wait()
        assert await until(at_the_gate(holder), 30)
    assert (await waiting).position == 2
    assert await positions(theatre) == [1, 2]


async def test_a_server_process_that_is_ended_in_the_middle(office: Log, theatre: Database) -> None:
    async with gate_held(theatre) as holder:
        waiting = [asyncio.create_task(office.append(sale(version=v))) for v in (0, None)]
        assert await until(at_the_gate(holder), 30)
        ended = await holder.fetchval(
            """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE application_name = 'office appends' AND datname = current_database()"""
        )
        assert ended == 1
    done = await asyncio.gather(*waiting)
    assert sorted(one.position for one in done) == [1, 2]
    assert await positions(theatre) == [1, 2]


async def test_a_gate_that_stays_shut_is_not_waited_for_without_end(office: Log, theatre: Database) -> None:
    async with gate_held(theatre):
        with pytest.raises(LogUnavailable):
            async with asyncio.timeout(30):
                await office.append(sale())
    assert (await office.append(sale())).position == 1


async def test_when_nothing_can_be_known_the_caller_is_told_in_time(cut: tuple[Wire, Log], theatre: Database) -> None:
    wire, log = cut
    wire.swallow(10_000)
    with pytest.raises(LogUnavailable):
        async with asyncio.timeout(30):
            await log.append(sale())
    wire.swallow(0)
    await log.append(sale("last"))
    found = await positions(theatre)
    assert found == list(range(1, len(found) + 1))
    assert len(found) in (2, 3)


async def test_cancelled_callers_disturb_nobody(office: Log, theatre: Database) -> None:
    async with gate_held(theatre) as holder:
        flying = [asyncio.create_task(office.append(sale())) for _ in range(4)]
        assert await until(at_the_gate(holder), 30)
        queued = [asyncio.create_task(office.append(sale())) for _ in range(6)]
        await asyncio.sleep(0)
        for task in (*flying[:2], *queued[:3]):
            task.cancel()
    answers = await asyncio.gather(*flying, *queued, return_exceptions=True)
    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 5
    assert sorted(answer.position for answer in answers if not isinstance(answer, BaseException)) == [3, 4, 5, 6, 7]
    assert await positions(theatre) == list(range(1, 8))


async def start_client(database: Database, ticket: str, number: signal.Signals) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.integration.log.stopping_client", database.dsn("office"), ticket, str(int(number))),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'sdk'}"},
        stdout=asyncio.subprocess.PIPE,
    )


async def test_a_stopped_client_holds_up_nobody(theatre: Database, office: Log) -> None:
    client = await start_client(theatre, "stopped", signal.SIGSTOP)
    try:

        async def stopped() -> bool:
            return str(psutil.Process(client.pid).status()) == psutil.STATUS_STOPPED

        assert await until(stopped, 30)
        async with asyncio.timeout(20):
            for _ in range(10):
                await office.append(sale())

        async def written() -> bool:
            """By the server, whose client does not read the answer."""
            return (await office.load("ticket-stopped")).version == 1

        assert await until(written, 20)
        stream = await office.load("ticket-stopped")
        client.send_signal(signal.SIGCONT)
        output, _ = await client.communicate()
        assert int(output) == stream.events[0].position
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    assert await positions(theatre) == list(range(1, 12))


async def test_a_client_that_is_killed_has_appended_once(theatre: Database, office: Log) -> None:
    client = await start_client(theatre, "killed", signal.SIGKILL)
    assert await client.wait() == -signal.SIGKILL

    async def there() -> bool:
        return (await office.load("ticket-killed")).version == 1

    assert await until(there, 30)
    await office.append(sale())
    assert await positions(theatre) == [1, 2]
