"""Eight writing processes that are killed, beside transactions that are aborted and connections that die, and readers.

Every event is there once, in order, without a gap; what was acknowledged is where it was said to be.
"""

import asyncio
import random
import signal
import sys
import tempfile
from contextlib import aclosing, suppress
from pathlib import Path

import asyncpg
import pytest

from infra.local.services import python_environment
from shared.log.append import LogUnavailable
from shared.log.log import Log
from tests.support.postgres import Database, password
from tests.support.theatre import OFFICE, positions, sale, send
from tests.support.wire import Wire, wire
from tests.support.work import Work

WRITERS = 8
LIVES = 2
"""How often each of them is begun; all but the last life end by SIGKILL."""
APPENDS = 60
WITHOUT_END = 1_000_000
THROUGH = 6
"""So many appends whose connection died have to be acknowledged in the end."""


async def write(database: Database, name: str, dice: random.Random, acknowledged: dict[str, int]) -> int:
    """One writer after the other; answers how many were killed."""
    killed = 0
    for life in range(LIVES):
        last = life == LIVES - 1
        appends = APPENDS if last else WITHOUT_END
        arguments = (database.dsn("office"), f"{name}-{life}", str(dice.random()), str(appends))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.log.writing_process", *arguments),
            env=python_environment(),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        enough = APPENDS + 1 if last else dice.randrange(5, APPENDS)
        lines = 0
        async for line in process.stdout:
            if not line.endswith(b"\n"):
                break  # cut off by the kill
            ticket, position = line.decode().split()
            acknowledged[f"ticket-{ticket}"] = int(position)
            lines += 1
            if lines == enough:
                process.kill()
        killed += await process.wait() == -signal.SIGKILL
    return killed


async def abort(database: Database, dice: random.Random) -> None:
    """Append in transactions that hold the gate for a moment and come to nothing, for ever."""
    async with database.connection("office") as connection:
        while True:
            transaction = connection.transaction()
            await transaction.start()
            await send(connection, sale("aborted"), sale("aborted-too", None))
            await asyncio.sleep(dice.uniform(0.0, 0.01))
            await transaction.rollback()
            await asyncio.sleep(dice.uniform(0.0, 0.05))


async def die(cut: Wire, log: Log, dice: random.Random, acknowledged: dict[str, int]) -> None:
    """Append over connections that die, cut behind the server's back or their answers lost, until some are through."""
    number = through = 0
    while through < THROUGH:
        number += 1
        append = sale(f"cut-{number}", dice.choice([0, None]))
        # Not each time: a log that is out of reach is tried once by each append, and would never be reached.
        fate = dice.random()
        if fate < 0.25:
            cut.cut_when_asked()
        elif fate < 0.5:
            cut.swallow()
        with suppress(LogUnavailable):
            acknowledged[append.stream] = (await log.append(append)).position
            through += fate < 0.5
        await asyncio.sleep(dice.uniform(0.0, 0.05))


async def end_backends(database: Database, dice: random.Random) -> None:
    """End a server process of some writer now and then, for ever."""
    async with database.connection() as superuser:
        while True:
            await superuser.fetchval(
                """SELECT count(pg_terminate_backend(pid)) FROM (
                     SELECT pid FROM pg_stat_activity WHERE application_name = 'office appends'
                      ORDER BY random() LIMIT 1) one"""
            )
            await asyncio.sleep(dice.uniform(0.1, 0.4))


async def read(log: Log, ended: asyncio.Event) -> list[int]:
    """Read on as long as others write, and to the end: the positions in the order they were read."""
    seen: list[int] = []
    async with aclosing(log.changes()) as changes:
        async for _ in changes:
            last_look = ended.is_set()
            while events := await log.read(seen[-1] if seen else 0, limit=40):
                seen += [event.position for event in events if isinstance(event.position, int)]
            if last_look:
                break
    return seen


@pytest.mark.timeout(240)
async def test_every_event_once_in_order_without_a_gap(theatre: Database, watch: Log, work: Work) -> None:
    dice = random.Random(1975)
    acknowledged: dict[str, int] = {}
    ended = asyncio.Event()
    readers = [work.start(read(watch, ended)) for _ in range(3)]
    with tempfile.TemporaryDirectory(prefix="wire-") as folder:
        async with wire(theatre.server.socket_folder, Path(folder)) as cut:
            dsn = theatre.dsn("office").replace(str(theatre.server.socket_folder), folder)
            log = await Log.open(dsn, password("office"), OFFICE)
            disturbing = [
                work.start(abort(theatre, random.Random(1))),
                work.start(end_backends(theatre, random.Random(3))),
            ]
            dying = work.start(die(cut, log, random.Random(2), acknowledged))
            killed = await asyncio.gather(
                *(write(theatre, str(n), random.Random(dice.random()), acknowledged) for n in range(WRITERS))
            )
            for one in disturbing:
                await work.stop(one)
            await dying
            cut.swallow(0)
            await log.close()
    ended.set()

    assert sum(killed) == WRITERS * (LIVES - 1)
    head = await watch.head()
    there = await positions(theatre)
    assert there == list(range(1, head.position + 1))
    for reader in readers:
        assert await reader == there
    rows = [row for row in await watch.read_rows(0, limit=100_000) if row.type == "office.Sold"]
    stored = {row.stream: row.position for row in rows}
    assert len(stored) == len(rows), "no stream twice"
    assert acknowledged.items() <= stored.items(), "nothing acknowledged is lost or elsewhere"
    assert not {"ticket-aborted", "ticket-aborted-too"} & set(stored), "what was aborted is not there"
    assert len(acknowledged) > WRITERS * APPENDS
    assert sum(stream.startswith("ticket-cut-") for stream in acknowledged) >= THROUGH
    async with theatre.connection() as superuser:
        tickets = dict(await superuser.fetch("SELECT 'ticket-' || id, position FROM office.tickets"))
    assert tickets == {stream: at for stream, at in stored.items() if not stream.startswith("ticket-cut-")}


async def test_a_transaction_that_dies_with_its_connection_leaves_nothing(theatre: Database, office: Log) -> None:
    """The gate is free again, and the position is given to somebody else."""
    connection = await asyncpg.connect(theatre.dsn("office"), password=password("office"))
    await connection.execute("BEGIN")
    (lost,) = await send(connection, sale("lost"))
    assert lost.position == 1
    connection.terminate()
    assert (await office.append(sale("kept"))).position == 1
    assert (await office.load("ticket-lost")).version == 0
