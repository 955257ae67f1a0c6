from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from shared.log.append import AlreadyUsed, Append, OnceKey
from tests.support.postgres import Database, Databases
from tests.support.theatre import OFFICE, TENANTS, Noted, context, sale

SIZE = 2**24


@pytest.fixture
async def own(databases: Databases) -> AsyncIterator[Database]:
    """A database of its own: these tests change its partitions."""
    async with databases.fresh(TENANTS) as fresh:
        fresh.spoiled = True
        yield fresh


async def partitions(connection: asyncpg.Connection, parent: str) -> list[str]:
    found = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::regclass ORDER BY 1", parent
    )
    return [row["name"] for row in found]


NOTHING = (0, 0, 0, 0)


async def care(connection: asyncpg.Connection) -> tuple[int, ...]:
    """Event partitions and once partitions that were made, once partitions that were dropped, denials pruned."""
    return tuple(await connection.fetchrow("SELECT * FROM log.care()"))[:4]


async def test_care_is_taken_ahead_and_once(own: Database) -> None:
    async with own.connection("watch") as watch, own.connection() as superuser:
        assert await care(watch) == NOTHING
        assert len(await partitions(superuser, "log.events_lasting")) == 2
        await superuser.execute("UPDATE log.head SET position = $1", SIZE + 5)
        assert await care(watch) == (2, 0, 0, 0)
        names = [f"log.events_lasting_{number * SIZE}" for number in range(3)]
        assert await partitions(superuser, "log.events_lasting") == names
        assert len(await partitions(superuser, "log.events_expiring")) == 3
        assert await care(watch) == NOTHING


async def test_days_are_made_ahead_for_once_keys(own: Database) -> None:
    async with own.connection("watch") as watch, own.connection() as superuser:
        before = await partitions(superuser, "log.once")
        assert len(before) == 15
        # As if these partitions had been made three days ago.
        await superuser.execute(f"DROP TABLE {', '.join(before[-3:])}")
        await superuser.execute("UPDATE log.head SET once_until = once_until - interval '3 days'")
        assert (await watch.fetchrow("SELECT * FROM log.condition()"))["days_ahead"] < 12
        assert await care(watch) == (0, 3, 0, 0)
        assert await partitions(superuser, "log.once") == before
        assert 14 <= (await watch.fetchrow("SELECT * FROM log.condition()"))["days_ahead"] <= 15


async def test_its_condition_says_how_far_ahead_and_how_long_ago(own: Database) -> None:
    log = await own.log("office", OFFICE)
    async with own.connection("watch") as watch, own.connection() as superuser:
        first = await watch.fetchrow("SELECT * FROM log.condition()")
        assert (first["care_seconds_ago"], first["positions_ahead"], first["synchronous"]) == (None, 2 * SIZE, False)
        await log.append(sale())
        await care(watch)
        second = await watch.fetchrow("SELECT * FROM log.condition()")
        assert 0 <= second["care_seconds_ago"] < 60
        assert second["positions_ahead"] == 2 * SIZE - 1
        await superuser.execute("UPDATE log.care_taken SET at = at - interval '1 hour'")
        assert 3600 <= (await watch.fetchrow("SELECT * FROM log.condition()"))["care_seconds_ago"] < 3660


async def test_only_a_caretaker_has_a_say_even_with_the_right_to_call(own: Database) -> None:
    async with own.connection() as superuser:
        await superuser.execute("GRANT EXECUTE ON FUNCTION log.care, log.condition TO office")
    async with own.connection("office") as office:
        for statement in ("SELECT log.care()", "SELECT log.condition()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="office does not look after the log"):
                await office.execute(statement)


async def test_events_go_where_they_are_kept(own: Database) -> None:
    log = await own.log("office", OFFICE)
    await log.append(sale())
    await log.append(Append("note-1", None, (Noted(note="x"),), context()))
    async with own.connection() as superuser:
        places = await superuser.fetch("SELECT tableoid::regclass::text AS place FROM log.events ORDER BY position")
    assert [row["place"] for row in places] == ["log.events_lasting_0", "log.events_expiring_0"]


async def test_an_append_that_runs_out_of_partitions_makes_them(own: Database) -> None:
    log = await own.log("office", OFFICE)
    async with own.connection() as superuser:
        await superuser.execute("UPDATE log.head SET position = $1", 2 * SIZE - 2)
    done = [await log.append(sale()) for _ in range(4)]
    assert [one.position - 2 * SIZE for one in done] == [-1, 0, 1, 2]
    assert [event.position for event in await log.read(0)] == [one.position for one in done]
    async with own.connection() as superuser:
        held = await superuser.fetchval(f"SELECT count(*) FROM log.events_lasting_{2 * SIZE}")  # noqa: S608
    assert held == 3


async def test_a_reader_in_the_middle_does_not_hold_up_care(own: Database) -> None:
    log = await own.log("office", OFFICE)
    await log.append(sale())
    async with own.connection() as reader, own.connection() as superuser, own.connection("watch") as watch:  # noqa: SIM117
        async with reader.transaction(isolation="repeatable_read"):
            assert await reader.fetchval("SELECT count(*) FROM log.events") == 1
            await superuser.execute("UPDATE log.head SET position = $1", 2 * SIZE - 2)
            await watch.execute("SET lock_timeout = '2s'")
            assert await care(watch) == (2, 0, 0, 0)
            await log.append(sale())
            assert await reader.fetchval("SELECT count(*) FROM log.events") == 1


async def test_once_keys_are_forgotten_days_after_they_expired(own: Database) -> None:
    log = await own.log("office", OFFICE)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    fresh = OnceKey(b"f" * 32, today + timedelta(hours=30))
    await log.append(sale(once=(fresh,)))
    async with own.connection() as superuser, own.connection("watch") as watch:
        # As if the last care had been taken five days ago.
        for days in range(1, 6):
            await superuser.execute("SELECT log.make_once_partition($1)", today - timedelta(days=days))
        await superuser.execute("UPDATE log.head SET once_from = $1", today - timedelta(days=5))
        old = OnceKey(b"o" * 32, today - timedelta(hours=100))
        recent = OnceKey(b"r" * 32, today - timedelta(hours=20))
        for key in (old, recent):
            await log.append(sale(once=(key,)))
        assert await care(watch) == (0, 0, 3, 0)
        names = await partitions(superuser, "log.once")
        assert names[0] == f"log.once_{today - timedelta(days=2):%Y%m%d}"
        assert await superuser.fetchval("SELECT count(*) FROM log.once") == 2
    for key in (old, recent, fresh):
        with pytest.raises(AlreadyUsed):
            await log.append(sale(once=(key,)))
