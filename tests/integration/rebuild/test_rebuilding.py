"""Tables are made again from the log beside the live ones, while everything goes on."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from shared.errors import Refusal, Unavailable
from shared.log.event import Put, Recorded, RowChange
from shared.log.log import Log
from shared.messaging.follower import Follower
from shared.rebuild import rebuilding
from shared.rebuild.comparing import differences
from shared.rebuild.projection import Projection
from shared.rebuild.rebuilding import Progress, TablesInUse, rebuild, versions
from shared.rebuild.shadow import EventNotProjected, RebuildOvertaken, Shadow, TablesNeeded
from tests.support.postgres import Database
from tests.support.theatre import KNOWN, TICKETS, project_tickets, sell
from tests.support.work import Work, eventually


async def rebuilt(log: Log, projection: Projection) -> Progress:
    """Rebuild to the end."""
    told = [progress async for progress in rebuild(log, projection)]
    assert [progress.live for progress in told] == [False] * (len(told) - 1) + [True]
    return told[-1]


async def rows(log: Log, table: str) -> list[dict[str, Any]]:
    found = await log.pool.fetch(f"SELECT * FROM {table} t ORDER BY t::text")  # noqa: S608
    return [dict(row) for row in found]


async def shape(database: Database, schema: str) -> list[tuple[Any, ...]]:
    """Everything about the tables of a schema that somebody may rely on."""
    async with database.connection() as connection:
        columns = await connection.fetch(
            "SELECT table_name, column_name, data_type, column_default, is_nullable FROM information_schema.columns"
            " WHERE table_schema = $1 ORDER BY table_name, ordinal_position",
            schema,
        )
        indexes = await connection.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1 ORDER BY indexname", schema
        )
        constraints = await connection.fetch(
            "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = $1::regnamespace ORDER BY 1, 2",
            schema,
        )
        tables = await connection.fetch(
            "SELECT relname::text, pg_get_userbyid(relowner)::text, relacl::text FROM pg_class"
            " WHERE relnamespace = $1::regnamespace AND relkind = 'r' ORDER BY relname",
            schema,
        )
    return [tuple(record) for record in (*columns, *indexes, *constraints, *tables)]


async def corrupt(database: Database, statement: str) -> None:
    async with database.connection() as connection:
        await connection.execute(statement)


async def some_sales(office: Log, number: int = 20) -> None:
    for n in range(number):
        await sell(office, f"t{n}", seat=n + 1)
    for n in range(0, number, 3):
        await sell(office, f"t{n}", 1, seat=n + 100)


async def test_the_rebuilt_is_the_live_one_to_the_last_detail(theatre: Database, office: Log) -> None:
    await some_sales(office)
    before = await rows(office, "tickets"), await rows(office, "stubs"), await shape(theatre, "office")
    told = await rebuilt(office, TICKETS)
    assert told.position == (await office.head()).position
    assert (await rows(office, "tickets"), await rows(office, "stubs"), await shape(theatre, "office")) == before
    await rebuilt(office, TICKETS)
    assert await shape(theatre, "office") == before[2]
    assert await differences(office, (TICKETS,)) == []


async def test_appends_go_on_into_the_new_tables(office: Log) -> None:
    await some_sales(office, 3)
    await rebuilt(office, TICKETS)
    position = await sell(office, "later", seat=7)
    (row,) = await office.pool.fetch("SELECT * FROM tickets WHERE id = 'later'")
    assert (row["seat"], row["position"]) == (7, position)


async def test_what_is_wrong_is_found_and_mended(theatre: Database, office: Log) -> None:
    await some_sales(office, 5)
    assert await differences(office, (TICKETS,)) == []
    await corrupt(
        theatre,
        "UPDATE office.tickets SET seat = 99, note = 'x' WHERE id = 't1'; DELETE FROM office.tickets WHERE id = 't2';"
        "INSERT INTO office.stubs VALUES ('forged', 1)",
    )
    found = await differences(office, (TICKETS,))
    assert [(one.table, one.key, one.what) for one in found] == [
        ("tickets", {"id": "t1"}, "seat note"),
        ("tickets", {"id": "t2"}, "missing"),
        ("stubs", {"part": "1", "id": "forged"}, "unexpected"),
    ]
    await rebuilt(office, TICKETS)
    assert await differences(office, (TICKETS,)) == []
    assert len(await rows(office, "tickets")) == 5


async def test_comparing_leaves_nothing_behind_and_changes_nothing(theatre: Database, office: Log) -> None:
    await some_sales(office, 3)
    before = await rows(office, "tickets"), await shape(theatre, "office"), await rows(office, "checkpoints")
    await differences(office, (TICKETS,))
    assert (await rows(office, "tickets"), await shape(theatre, "office"), await rows(office, "checkpoints")) == before


class Selling:
    """Sales all the time, from several sellers at once."""

    def __init__(self, office: Log) -> None:
        self.office = office
        self.sold: dict[str, int] = {}
        """The seat of every ticket whose sale was acknowledged."""
        self.changed = 0

    async def sell(self, seller: int) -> None:
        number = 0
        while True:
            ticket = f"s{seller}-{number}"
            await sell(self.office, ticket, seat=1)
            self.sold[ticket] = 1
            await sell(self.office, ticket, 1, seat=number + 2)
            self.sold[ticket] = number + 2
            self.changed += 1
            number += 1
            await asyncio.sleep(0.02)

    async def read(self) -> None:
        """Whatever was acknowledged is there, at any time."""
        while True:
            known = dict(list(self.sold.items())[-200:])
            found = await self.office.pool.fetch("SELECT id, seat FROM tickets WHERE id = ANY ($1)", list(known))
            seats = {row["id"]: row["seat"] for row in found}
            for ticket, seat in known.items():
                assert seats.get(ticket, 0) >= seat, ticket
            await asyncio.sleep(0.005)


async def test_nothing_is_lost_or_doubled_while_everybody_writes_and_reads(theatre: Database, office: Log) -> None:
    """Two replicas write, one of them rebuilds, again and again; readers never miss what was acknowledged."""
    second = await theatre.log("office", office.catalogue)
    selling, other = Selling(office), Selling(second)
    async with Work() as work:
        running = [work.start(selling.sell(n)) for n in range(8)]
        running += [work.start(other.sell(n)) for n in range(100, 104)]
        running += [work.start(selling.read()), work.start(other.read())]
        for _ in range(4):
            sold = selling.changed
            await rebuilt(office, TICKETS)
            await eventually(lambda sold=sold: selling.changed > sold)  # type: ignore[misc]
        assert await differences(office, (TICKETS,)) == []
        assert not any(task.done() for task in running)
    everything = selling.sold | other.sold
    seats = {row["id"]: row["seat"] for row in await office.pool.fetch("SELECT id, seat FROM tickets")}
    assert seats.keys() >= everything.keys()
    assert await differences(office, (TICKETS,)) == []


async def test_a_view_of_others_facts_is_rebuilt_beside_its_followers(
    office: Log, door: Log, theatre: Database
) -> None:
    second = await theatre.log("door", door.catalogue)
    selling = Selling(office)
    async with Work() as work:
        sellers = [work.start(selling.sell(n)) for n in range(4)]
        followers = [Follower(log, KNOWN.name, KNOWN.sources, KNOWN.project, None) for log in (door, second)]
        for following in followers:
            work.start(following.run())
        for _ in range(3):
            await rebuilt(second, KNOWN)
            sold = {ticket for ticket, seat in selling.sold.items() if seat > 1}
            position = (await office.head()).position
            for following in followers:
                await following.reach(position)
            known = await door.pool.fetch("SELECT DISTINCT ticket FROM known")
            assert {row["ticket"] for row in known} >= sold
        await corrupt(theatre, "UPDATE door.known SET seat = 0 WHERE ticket = 's0-0'")
        assert [(one.key, one.what) for one in await differences(door, (KNOWN,))] == [({"ticket": "s0-0"}, "seat")]
        await rebuilt(door, KNOWN)
        for task in sellers:
            await work.stop(task)
        assert await differences(door, (KNOWN,)) == []
        head = (await office.head()).position
        for following in followers:
            await following.reach(head)
            assert following.readiness().ok
        assert (await door.checkpoints(KNOWN.name))["office"] == head


async def test_a_view_that_nobody_has_fed_yet_comes_from_a_rebuild(office: Log, door: Log) -> None:
    await some_sales(office, 4)
    await rebuilt(door, KNOWN)
    assert len(await rows(door, "known")) == 4
    assert (await door.checkpoints(KNOWN.name))["office"] == (await office.head()).position


async def test_what_is_remembered_with_checkpoints_is_forgotten(office: Log, door: Log) -> None:
    """Other rows may be there after a rebuild, at the same position."""
    await some_sales(office, 1)
    seen = []
    for _ in range(3):
        await rebuilt(door, KNOWN)
        seen.append(await door.checkpoints(KNOWN.name))
    assert seen[0] != seen[1] != seen[2]
    assert {checkpoints["office"] for checkpoints in seen} == {(await office.head()).position}


async def test_rows_that_the_service_lets_go_of_are_not_missed(theatre: Database, office: Log) -> None:
    await some_sales(office, 5)
    await corrupt(theatre, "DELETE FROM office.tickets WHERE seat IN (2, 3)")
    pruned = replace(TICKETS, let_go={"tickets": "s.seat = 2"})
    assert [one.key for one in await differences(office, (pruned,))] == [{"id": "t2"}]
    assert len(await differences(office, (TICKETS,))) == 2


async def test_a_rebuild_of_an_empty_log(office: Log, door: Log) -> None:
    assert (await rebuilt(office, TICKETS)).position == 0
    assert (await rebuilt(door, KNOWN)).position == 0
    assert await differences(office, (TICKETS,)) == []


async def test_the_version_tells_who_made_the_rows(office: Log) -> None:
    await sell(office, "a")
    assert await versions(office) == {"own": 1}

    def newer(recorded: Recorded) -> Iterable[RowChange]:
        for change in project_tickets(recorded):
            yield (
                Put(change.table, {**change.row, "note": "of the new kind"})
                if (isinstance(change, Put) and change.table == "office.tickets")
                else change
            )

    await rebuilt(office, Projection("own", ("office",), newer, TICKETS.tables, version=2))
    assert await versions(office) == {"own": 2}
    assert [row["note"] for row in await rows(office, "tickets")] == ["of the new kind"]
    # A replica of the old version goes on writing as it knows.
    await sell(office, "b")
    assert {row["id"]: row["note"] for row in await rows(office, "tickets")} == {"a": "of the new kind", "b": "none"}


async def test_whoever_begins_later_overtakes(office: Log) -> None:
    await some_sales(office, 5)
    async with Shadow.of(office, TICKETS, "next") as first:
        async with Shadow.of(office, TICKETS, "next") as second:
            await second.complete()
            with pytest.raises(RebuildOvertaken):
                await first.complete()
            with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
                await office.pool.fetchval("SELECT log.flip('own', $1, 1)", first.run)
        with pytest.raises(RebuildOvertaken):
            await first.step()
    assert (await rebuilt(office, TICKETS)).live
    assert await differences(office, (TICKETS,)) == []


async def test_shadows_that_are_not_complete_do_not_go_live(office: Log) -> None:
    await some_sales(office, 5)
    async with Shadow.of(office, TICKETS, "next") as shadow:
        await shadow.complete()
        await sell(office, "more")
        assert await office.pool.fetchval("SELECT log.flip('own', $1, 1)", shadow.run) is False
        await shadow.complete()
        assert await office.pool.fetchval("SELECT log.flip('own', $1, 1)", shadow.run) is True
    assert await differences(office, (TICKETS,)) == []


async def test_a_table_that_was_migrated_meanwhile_is_not_replaced(theatre: Database, office: Log) -> None:
    await some_sales(office, 2)
    async with Shadow.of(office, TICKETS, "next") as shadow:
        await shadow.complete()
        await corrupt(theatre, "ALTER TABLE office.tickets ADD COLUMN row_of_seats text")
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await office.pool.fetchval("SELECT log.flip('own', $1, 1)", shadow.run)
    await rebuilt(office, TICKETS)
    assert "row_of_seats" in (await rows(office, "tickets"))[0]


async def test_a_reader_without_an_end_is_not_waited_for(
    theatre: Database, office: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "_SWAPS", 3)
    await some_sales(office, 2)
    async with theatre.connection() as back_up:
        await back_up.execute("BEGIN; LOCK TABLE office.tickets IN ACCESS SHARE MODE")
        with pytest.raises(TablesInUse):
            await rebuilt(office, TICKETS)
        assert isinstance(TablesInUse(), Unavailable)
        await sell(office, "meanwhile")
        await back_up.execute("COMMIT")
    assert len(await rows(office, "tickets")) == 3
    await rebuilt(office, TICKETS)
    assert await differences(office, (TICKETS,)) == []


async def test_tables_that_a_view_is_built_on_stay(theatre: Database, office: Log) -> None:
    await some_sales(office, 2)
    await corrupt(theatre, "CREATE VIEW public.seats AS SELECT seat FROM office.tickets")
    with pytest.raises(TablesNeeded):
        await rebuilt(office, TICKETS)
    await corrupt(theatre, "DROP VIEW public.seats")
    await rebuilt(office, TICKETS)


async def test_an_event_that_cannot_be_projected_ends_it_and_is_not_skipped(office: Log) -> None:
    await some_sales(office, 5)

    def failing(recorded: Recorded) -> Iterable[RowChange]:
        if recorded.position == 3:
            raise RuntimeError("a secret")
        return project_tickets(recorded)

    before = await rows(office, "tickets")
    with pytest.raises(EventNotProjected, match=r"position 3 .*RuntimeError"):
        await rebuilt(office, Projection("own", ("office",), failing, TICKETS.tables))
    assert await rows(office, "tickets") == before
    with pytest.raises(Refusal, match="position 3"):
        await differences(office, (Projection("own", ("office",), failing, TICKETS.tables),))


async def test_a_projection_writes_to_the_tables_that_it_names_alone(office: Log) -> None:
    await some_sales(office, 1)
    with pytest.raises(EventNotProjected, match="LookupError"):
        await rebuilt(office, Projection("own", ("office",), TICKETS.project, ("tickets",)))
