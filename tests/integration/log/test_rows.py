import asyncio
from datetime import UTC, datetime

import pytest

from shared.log.append import Append, VersionConflict
from shared.log.event import Delete, Patch, Put, RowChange, RowValue, Stamp
from shared.log.group_commit import AppendFailed
from shared.log.log import Log
from tests.support.postgres import Database
from tests.support.theatre import Sold, context, positions, sale, send, won


def ticket(number: str, **values: RowValue) -> Put:
    return Put("office.tickets", {"id": number, **values})


async def rows(log: Log, columns: str = "id, seat, note, position", table: str = "tickets") -> list[tuple[object, ...]]:
    return [tuple(row) for row in await log.pool.fetch(f"SELECT {columns} FROM {table} ORDER BY id")]  # noqa: S608


async def test_rows_come_with_their_event(office: Log) -> None:
    await office.append(sale())
    at = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    put = ticket(
        "a",
        seat=3,
        note=None,
        tags=["x", "ü,{\"'"],
        extra={"deep": [1, None, {"é": at}]},
        secret=b"\x00\xff",
        sold_at=Stamp.RECORDED_AT,
        epoch=Stamp.EPOCH,
        position=Stamp.POSITION,
    )
    done = await office.append(Append("ticket-a", 0, (Sold(ticket="a"), Sold(ticket="a")), context(), rows=(put,)))
    (row,) = await office.pool.fetch("SELECT * FROM office.tickets")
    assert tuple(row) == (
        "a", 3, None, ["x", "ü,{\"'"], '{"deep": [1, null, {"é": "2026-01-02T03:04:05.000678+00:00"}]}', b"\x00\xff",
        done.recorded_at, 1, 3,
    )  # fmt: skip
    await office.append(sale("a", 2, rows=(Put("tickets", {"id": "a", "sold_at": at}),)))
    assert await rows(office, "id, seat, note, tags, sold_at") == [("a", None, "none", None, at)]


async def test_patch_and_delete_find_rows_by_any_columns(office: Log) -> None:
    puts = tuple(ticket(name, seat=seat, note=note) for name, seat, note in
                 [("a", 1, "x"), ("b", 1, None), ("c", 2, "x"), ("d", 2, None)])  # fmt: skip
    await office.append(sale(rows=puts))
    await office.append(
        sale(
            rows=(
                Patch("tickets", {"seat": 1, "note": "x"}, {"seat": 9, "position": Stamp.POSITION}),
                Patch("tickets", {"note": None, "seat": 2}, {"note": "y"}),
                Delete("tickets", {"id": "c"}),
                Delete("tickets", {"seat": 77}),
            )
        )
    )
    assert await rows(office) == [("a", 9, "x", 2), ("b", 1, None, None), ("d", 2, "y", None)]


async def test_changes_to_the_same_rows_keep_their_order(office: Log) -> None:
    changes: tuple[RowChange, ...] = (
        ticket("a", seat=1, note="first"),
        Patch("tickets", {"id": "a"}, {"seat": 2}),
        Patch("tickets", {"seat": 2}, {"note": "second", "seat": 3}),
        Patch("tickets", {"seat": 3}, {"seat": 4}),
        Delete("tickets", {"id": "b"}),
        ticket("b", seat=4),
        Patch("tickets", {"seat": 4}, {"note": "both"}),
        ticket("c", seat=5),
        Delete("tickets", {"note": "both", "id": "b"}),
        Put("stubs", {"id": "s", "part": 1}),
        Delete("stubs", {"id": "s"}),
        Put("stubs", {"part": 2, "id": "s"}),
        Put("stubs", {"id": "s", "part": 2}),
    )
    await office.append(sale(rows=changes))
    assert await rows(office) == [("a", 4, "both", None), ("c", 5, "none", None)]
    assert await rows(office, "id, part", "stubs") == [("s", 2)]


async def test_commands_of_a_group_change_rows_in_their_order(theatre: Database, office: Log) -> None:
    async with theatre.connection("office") as connection:
        group = [
            sale(rows=(ticket("a", seat=1, position=Stamp.POSITION),)),
            sale("x", 3, rows=(ticket("lost", seat=1), Delete("tickets", {"id": "a"}))),
            sale(rows=(Patch("tickets", {"id": "a"}, {"seat": 2, "position": Stamp.POSITION}),)),
            sale(rows=(ticket("b", seat=1, position=Stamp.POSITION),)),
            sale(rows=(Patch("tickets", {"seat": 2}, {"note": "seen"}),)),
        ]
        assert won(await send(connection, *group)) == ["appended", "conflict", "appended", "appended", "appended"]
    assert await rows(office) == [("a", 2, "seen", 2), ("b", 1, "none", 3)]


async def test_a_repeated_command_does_not_change_rows_again(office: Log) -> None:
    first = sale("a", rows=(ticket("a", seat=1),))
    await office.append(first)
    await office.append(sale("a", 1, rows=(Patch("tickets", {"id": "a"}, {"seat": 2}),)))
    await office.append(first)
    assert await rows(office, "id, seat") == [("a", 2)]


async def test_a_row_that_breaks_a_constraint_fails_its_own_command_only(office: Log, theatre: Database) -> None:
    def one(number: int) -> Append:
        return sale(rows=(ticket(f"{number:02}", seat=0 if number == 7 else 1),))

    answers = await asyncio.gather(*(office.append(one(number)) for number in range(20)), return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(failed) == 1
    assert isinstance(failed[0], AppendFailed)
    assert str(failed[0]) == "CheckViolationError, schema office, table tickets, constraint tickets_seat_check"
    assert [row[0] for row in await rows(office)] == [f"{n:02}" for n in range(20) if n != 7]
    assert await positions(theatre) == list(range(1, 20))


async def test_each_event_of_a_command_gives_its_own_position(office: Log) -> None:
    """Whatever stands before the command in its group, and whichever of its events a row is of."""

    async def sell_three(name: str) -> int:
        tickets = [f"{name}{n}" for n in range(3)]
        rows = tuple(ticket(one, seat=1, position=Stamp.position(2 - n)) for n, one in enumerate(tickets))
        events = tuple(Sold(ticket=one) for one in tickets)
        return (await office.append(Append(f"ticket-{name}", 0, events, context(), rows=rows))).position

    last = await asyncio.gather(*(sell_three(name) for name in "abcdef"))
    expected = {f"{name}{n}": last["abcdef".index(name)] - 2 + n for name in "abcdef" for n in range(3)}
    assert {row[0]: row["position"] for row in await office.pool.fetch("SELECT id, position FROM tickets")} == expected


async def test_a_refused_command_changes_no_rows(office: Log) -> None:
    with pytest.raises(VersionConflict):
        await office.append(sale("a", 4, rows=(ticket("a", seat=1),)))
    assert await rows(office) == []


@pytest.mark.parametrize(
    "change",
    [
        Put("tickets", {"id": "a", "nothing": 1}),
        Put("nowhere", {"id": "a"}),
        Put("door.known", {"ticket": "a"}),
        Put("log.events", {"position": 1}),
        Patch("tickets", {}, {"seat": 1}),
        Patch("tickets", {"id": "a"}, {}),
        Delete("tickets", {}),
        Delete("tickets", {"id": Stamp.POSITION}),
    ],
)
async def test_what_is_no_row_of_ours_is_not_sent(office: Log, theatre: Database, change: RowChange) -> None:
    with pytest.raises((LookupError, ValueError)):
        await office.append(sale(rows=(change,)))
    assert await positions(theatre) == []


async def test_names_of_tables_cannot_carry_sql(office: Log) -> None:
    with pytest.raises(LookupError):
        await office.append(sale(rows=(Put('tickets"; DROP TABLE office.tickets; --', {"id": "a"}),)))
    await office.append(sale(rows=(ticket("'; DROP TABLE office.tickets; --", note="$2"),)))
    assert await rows(office, "id, note") == [("'; DROP TABLE office.tickets; --", "$2")]


async def test_many_rows_of_many_commands(office: Log) -> None:
    async def add(number: int) -> None:
        await office.append(sale(rows=(ticket(f"{number:03}", seat=1, position=Stamp.POSITION),)))
        await office.append(sale(rows=(Patch("tickets", {"id": f"{number:03}"}, {"seat": 2}),)))

    await asyncio.gather(*(add(number) for number in range(200)))
    assert [(row[0], row[1]) for row in await rows(office)] == [(f"{number:03}", 2) for number in range(200)]
