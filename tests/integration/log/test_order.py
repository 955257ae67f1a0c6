import asyncio
import itertools
import random
from contextlib import aclosing

from shared.log.append import Appended, LogUnavailable, VersionConflict
from shared.log.event import Put, Stamp
from shared.log.log import Log
from tests.support.postgres import Database
from tests.support.theatre import OFFICE, bar, positions, sale

WRITERS = 8
APPENDS = 120
KILLS, ENOUGH_KILLS = 20, 5


class Killed:
    """How many connections of writers were ended so far."""

    number = 0


async def follow(log: Log, ended: asyncio.Event) -> list[int]:
    """Read on as long as others write, and to the end: the positions in the order they were read."""
    seen: list[int] = []
    async with aclosing(log.changes()) as changes:
        async for _ in changes:
            last_look = ended.is_set()
            while events := await log.read(seen[-1] if seen else 0, limit=50):
                seen += [event.position for event in events if isinstance(event.position, int)]
            if last_look:
                break
    return seen


async def write(
    log: Log, number: int, done: dict[str, Appended], tried: set[str], dice: random.Random, killed: Killed
) -> None:
    """Append as people do: at any time, sometimes at once, sometimes impatient. The first goes on until enough died."""
    for turn in itertools.count():
        if turn >= APPENDS and (number > 0 or killed.number >= ENOUGH_KILLS):
            return
        ticket = f"{number}-{turn}"
        append = sale(
            ticket, None if turn % 3 else 0, rows=(Put("tickets", {"id": ticket, "position": Stamp.POSITION}),)
        )
        tried.add(append.stream)
        patience = 0.002 if dice.random() < 0.1 else 30.0
        try:
            async with asyncio.timeout(patience):
                done[append.stream] = await log.append(append)
            if turn % 10 == 0:
                done[f"denial {number} {turn}"] = await log.append(bar("guest"))
        except (TimeoutError, LogUnavailable):
            pass
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() * 0.004)


async def kill(database: Database, ended: asyncio.Event, dice: random.Random, killed: Killed) -> None:
    """End connections of writers at any moment."""
    async with database.connection() as superuser:
        while killed.number < KILLS and not ended.is_set():
            killed.number += await superuser.fetchval(
                """SELECT count(pg_terminate_backend(pid)) FROM (
                     SELECT pid FROM pg_stat_activity
                      WHERE application_name = 'office appends' AND datname = current_database()
                      ORDER BY random() LIMIT 1) one"""
            )
            await asyncio.sleep(dice.random() * 0.1)


async def test_every_event_once_in_order_whatever_happens_to_writers(theatre: Database, watch: Log) -> None:
    dice = random.Random(1986)
    writers = [await theatre.log("office", OFFICE, pool_size=1) for _ in range(WRITERS)]
    done: dict[str, Appended] = {}
    tried: set[str] = set()
    ended = asyncio.Event()
    readers = [asyncio.create_task(follow(watch, ended)) for _ in range(3)]
    killed = Killed()
    killing = asyncio.create_task(kill(theatre, ended, dice, killed))
    await asyncio.gather(*(write(log, number, done, tried, dice, killed) for number, log in enumerate(writers)))
    ended.set()
    await killing
    await asyncio.gather(*(log.close() for log in writers))

    head = await watch.head()
    assert await positions(theatre) == list(range(1, head.position + 1))
    for reader in readers:
        seen = await reader
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) >= max(one.position for one in done.values())

    rows = [row for row in await watch.read_rows(0, limit=100_000) if row.type == "office.Sold"]
    stored = {row.stream: row.position for row in rows}
    assert len(stored) == len(rows), "no stream twice"
    acknowledged = {stream: one.position for stream, one in done.items() if stream in tried}
    assert acknowledged.items() <= stored.items(), "nothing acknowledged is lost or elsewhere"
    assert set(stored) <= tried
    assert len(acknowledged) > WRITERS * APPENDS * 0.7
    times = [row.recorded_at for row in rows]
    assert times == sorted(times)
    async with theatre.connection() as superuser:
        tickets = dict(await superuser.fetch("SELECT 'ticket-' || id, position FROM office.tickets"))
        assert tickets == stored, "rows and events are the same history"
    numbers = [denial.number for denial in await watch.denials_after(0, 10_000)]
    assert numbers == list(range(1, head.denial_number + 1))


async def test_writers_of_one_stream_never_make_two_of_a_version(theatre: Database, office: Log) -> None:
    writers = [await theatre.log("office", OFFICE, pool_size=2) for _ in range(4)]

    async def write_on(log: Log) -> None:
        for _ in range(15):
            while True:
                version = (await log.load("ticket-x")).version
                try:
                    await log.append(sale("x", version))
                except VersionConflict:
                    continue
                break

    await asyncio.gather(*(write_on(log) for log in writers))
    stream = await office.load("ticket-x")
    assert [event.version for event in stream.events] == list(range(1, 61))
    assert await positions(theatre) == list(range(1, 61))
