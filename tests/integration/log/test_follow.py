import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from services.registry import events
from shared.log.append import Append
from shared.log.codec import UnreadableEvent
from shared.log.event import Catalogue, Delete, Patch, Put, RowChange
from shared.log.log import Log
from shared.log.row import EventFilter
from tests.support.postgres import Database
from tests.support.theatre import Noted, Opened, Sold, context, sale


def visit() -> Append:
    made = context()
    return Append(f"visit-{made.command_id}", 0, (Opened(who="guest"),), made)


async def known(door: Log) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await door.pool.fetch("SELECT * FROM door.known ORDER BY ticket")]


async def test_a_step_moves_rows_and_checkpoint_together(door: Log) -> None:
    put = Put("known", {"ticket": "a", "seat": 1, "position": 3})
    assert await door.apply("tickets", "office", 0, 3, [put])
    assert await door.checkpoints("tickets") == {"office": 3}
    assert not await door.apply("tickets", "office", 0, 4, [Put("known", {"ticket": "b"})])
    assert not await door.apply("tickets", "office", 2, 4, [Put("known", {"ticket": "b"})])
    assert await known(door) == [("a", 1, 3)]
    changes: list[RowChange] = [
        Put("known", {"ticket": "b"}),
        Patch("known", {"ticket": "a"}, {"seat": 2}),
        Delete("known", {"seat": 9}),
    ]
    assert await door.apply("tickets", "office", 3, 9, changes)
    assert await known(door) == [("a", 2, 3), ("b", None, None)]
    assert await door.apply("tickets", "office", 9, 12, [])
    assert await door.apply("others", "office", 0, 5, [])
    assert await door.checkpoints("tickets") == {"office": 12}


async def test_of_many_that_take_the_same_step_one_does(door: Log) -> None:
    steps = [door.apply("tickets", "office", 0, 5, [Put("known", {"ticket": str(n)})]) for n in range(20)]
    assert sorted(await asyncio.gather(*steps)) == [False] * 19 + [True]
    assert len(await known(door)) == 1


async def test_reading_is_by_source_and_in_order(office: Log, door: Log, watch: Log) -> None:
    for number in range(10):
        await (door.append(visit()) if number % 3 == 0 else office.append(sale()))
    every = await watch.read(0)
    assert [event.position for event in every] == list(range(1, 11))
    assert [e.position for e in await door.read(0, sources=["door"])] == [1, 4, 7, 10]
    assert [e.position for e in await door.read(3, sources=("office", "door"), limit=3)] == [4, 5, 6]
    assert [e.position for e in await door.read(5, sources=("office",), limit=2)] == [6, 8]
    assert [e.position for e in await office.read(0)] == [2, 3, 5, 6, 8, 9]
    assert await watch.read(10) == []
    assert await watch.read(0, sources=()) == []


async def test_an_event_that_is_not_known_is_not_skipped(theatre: Database, office: Log, door: Log) -> None:
    await office.append(sale())
    await door.append(visit())
    half = await theatre.log("watch", Catalogue(Sold))
    assert len(await half.read(0, sources=["office"])) == 1
    with pytest.raises(UnreadableEvent) as unreadable:
        await half.read(0)
    assert (unreadable.value.position, unreadable.value.event_type) == (2, "door.Opened")


async def test_rows_are_found_by_what_they_say(office: Log, door: Log, watch: Log) -> None:
    first, second = sale("a"), sale("b")
    for append in (first, second):
        await office.append(append)
    await office.append(Append("note-1", None, (Noted(note='{"sub": \x00 \\u0000 "client_id"'),), context()))
    middle = await door.append(visit())

    async def found(until: int | None = None, **wanted: object) -> list[int]:
        rows = await watch.read_rows(0, limit=10, until=until, matching=EventFilter(**wanted))  # type: ignore[arg-type]
        return [row.position for row in rows]

    assert await found() == [1, 2, 3, 4]
    assert await found(until=2) == [1, 2]
    assert await found(types=("office.Noted", "door.Opened")) == [3, 4]
    assert await found(sources=("door",)) == [4]
    assert await found(streams=("ticket-a", "note-1")) == [1, 3]
    assert await found(correlation_ids=(second.context.correlation_id,)) == [2]
    assert await found(actors=("user:nobody",)) == []
    assert await found(subs=("x",)) == []
    assert await found(client_ids=("x",), jtis=("y",), gids=("z",), sids=("s",)) == []
    assert await found(since=middle.recorded_at, sources=("door",)) == [4]
    assert await found(before=middle.recorded_at - timedelta(days=1)) == []
    assert await found(since=datetime.now(UTC) + timedelta(days=1)) == []


async def test_a_moment_is_found_by_halves(office: Log, watch: Log, theatre: Database) -> None:
    await asyncio.gather(*(office.append(sale()) for _ in range(40)))
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    async with theatre.connection() as superuser:
        # Some at the same moment, some gone with their partition.
        await superuser.execute(
            "UPDATE log.events SET recorded_at = $1::timestamptz + (position / 3) * interval '1 hour'", begin
        )
        await superuser.execute("DELETE FROM log.events WHERE position BETWEEN 10 AND 20 OR position = 1")
    rows = {row.position: row.recorded_at for row in await watch.read_rows(0, limit=100)}
    assert len(rows) == 28
    for hours in range(-1, 16):
        for minutes in (0, 30):
            moment = begin + timedelta(hours=hours, minutes=minutes)
            since = await watch.read_rows(0, limit=100, matching=EventFilter(since=moment))
            before = await watch.read_rows(0, limit=100, matching=EventFilter(before=moment))
            assert [row.position for row in since] == [position for position, at in rows.items() if at >= moment]
            assert [row.position for row in before] == [position for position, at in rows.items() if at < moment]


async def test_members_of_the_data_are_compared_exactly(database: Database) -> None:
    registry = await database.log("registry", Catalogue.of(events))
    ledger = await database.log("ledger", Catalogue.of(events))
    for client_id in ("com.a/app", "com.b/app", "com.a/app2"):
        event = events.ApplicationDisabled(client_id=client_id, reason="com.a/app")
        await registry.append(Append(f"application-{client_id}", 0, (event,), context()))
    rows = await ledger.read_rows(0, limit=10, matching=EventFilter(client_ids=("com.a/app",)))
    assert [row.position for row in rows] == [1]


LISTENING = """SELECT pid FROM pg_stat_activity
    WHERE application_name = 'watch listens' AND datname = current_database()"""


async def test_changes_wake_at_once_and_survive_the_connection(
    office: Log, watch: Log, theatre: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(60), aclosing(watch.changes()) as changes:
        await anext(changes)
        # It looks by itself so seldom that only a hint can have woken it in time.
        monkeypatch.setattr("shared.log.log._POLL_SECONDS", 1000)
        for _ in range(3):
            await office.append(sale())
            await anext(changes)
        monkeypatch.setattr("shared.log.log._POLL_SECONDS", 0.1)
        async with theatre.connection() as connection:
            killed = await connection.fetchval(LISTENING)
            assert await connection.fetchval("SELECT pg_terminate_backend($1)", killed)
            while await connection.fetchval(LISTENING) in (None, killed):
                await anext(changes)
        monkeypatch.setattr("shared.log.log._POLL_SECONDS", 1000)
        await office.append(sale())
        await anext(changes)


async def test_changes_wake_each_second_in_any_case(watch: Log) -> None:
    async with asyncio.timeout(4), aclosing(watch.changes()) as changes:
        for _ in range(3):
            await anext(changes)
