import asyncio
import os
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from msgspec.structs import replace

from shared.ids import new_id
from shared.log.append import AlreadyUsed, Append, Name, NameTaken, OnceKey, VersionConflict
from shared.log.event import Personal, Put
from shared.log.group import MOST_BYTES, MOST_EVENT_BYTES, MOST_EVENTS, TooLarge
from shared.log.group_commit import AppendFailed
from shared.log.log import Log
from tests.support.hashes import data_digest, is_intact, leaf_hash, moment
from tests.support.postgres import Database
from tests.support.theatre import OFFICE, Enrolled, Noted, Opened, Sold, context, positions, sale, send, won

TOMORROW = datetime.now(UTC) + timedelta(days=1)


def key(digest: bytes) -> OnceKey:
    return OnceKey(digest, TOMORROW)


async def test_events_of_one_command_stand_together(office: Log) -> None:
    await office.append(sale())
    stream = "ticket-x"
    done = await office.append(Append(stream, 0, (Sold(ticket="x"), Sold(ticket="x", seat=2)), context()))
    assert (done.epoch, done.position, done.version) == (1, 3, 2)
    loaded = await office.load(stream)
    assert [(e.position, e.version, e.event) for e in loaded.events] == [
        (2, 1, Sold(ticket="x")),
        (3, 2, Sold(ticket="x", seat=2)),
    ]
    assert {e.recorded_at for e in loaded.events} == {done.recorded_at}
    assert (loaded.version, loaded.head.position, loaded.head.epoch) == (2, 3, 1)


def as_large(bytes_: int) -> Sold:
    return Sold(ticket="x" * (bytes_ - len(Sold(ticket="").to_json())))


async def test_the_largest_event_is_taken_and_a_larger_one_is_never_sent(office: Log) -> None:
    assert (await office.append(Append("ticket-x", 0, (as_large(MOST_EVENT_BYTES),), context()))).position == 1
    with pytest.raises(TooLarge, match=r"an event of 262145 bytes \(office.Sold\), and 262144 are the most"):
        await office.append(Append("ticket-y", 0, (Sold(ticket="y"), as_large(MOST_EVENT_BYTES + 1)), context()))
    assert (await office.head()).position == 1


async def test_what_is_appended_at_once_is_bounded(office: Log, theatre: Database) -> None:
    third = as_large(MOST_BYTES // 4)
    assert (await office.append(Append("ticket-x", 0, (third,) * 3, context()))).position == 3
    with pytest.raises(TooLarge, match=f"bytes at once, and {MOST_BYTES} are the most"):
        await office.append(Append("ticket-y", 0, (third,) * 4, context()))
    # Rows count, too.
    rows = tuple(Put("office.tickets", {"id": f"{number}", "note": "n" * 200_000}) for number in range(5))
    with pytest.raises(TooLarge, match="at once"):
        await office.append(Append("ticket-z", 0, (Sold(ticket="z"),), context(), rows=rows))
    with pytest.raises(TooLarge, match=f"{MOST_EVENTS + 1} events at once, and {MOST_EVENTS} are the most"):
        await office.append(Append("ticket-z", 0, (Sold(ticket="z"),) * (MOST_EVENTS + 1), context()))
    done = await office.append(Append("ticket-z", 0, (Sold(ticket="z"),) * MOST_EVENTS, context()))
    assert await positions(theatre) == list(range(1, done.position + 1))
    assert done.position == 3 + MOST_EVENTS


async def test_a_stream_that_is_not_there_is_loaded_as_nothing(office: Log) -> None:
    stream = await office.load("ticket-none")
    assert (stream.version, stream.events, stream.head.position) == (0, (), 0)


@pytest.mark.parametrize("expected", [0, 2, 5])
async def test_another_version_than_expected_conflicts(office: Log, theatre: Database, expected: int) -> None:
    await office.append(sale("x"))
    with pytest.raises(VersionConflict):
        await office.append(sale("x", expected))
    assert await positions(theatre) == [1]


async def test_a_repeated_command_is_answered_with_its_position(office: Log, theatre: Database) -> None:
    twice = Append("ticket-x", 0, (Sold(ticket="x"), Sold(ticket="x")), context())
    first = await office.append(twice)
    await office.append(sale("x", 2))
    assert await office.append(twice) == first
    assert await positions(theatre) == [1, 2, 3]


async def test_a_stream_of_one_event_is_repeated_only_when_sent_again(theatre: Database) -> None:
    async with theatre.connection("office") as connection:
        once = replace(sale("x"), expected_version=None)
        (first,) = await send(connection, once)
        (again,) = await send(connection, once, resend=True)
        assert (first.outcome, again.outcome) == ("appended", "repeated")
        assert first.position == again.position == 1
        other = replace(once, context=context())
        assert won(await send(connection, other, resend=True)) == ["conflict"]
        assert won(await send(connection, replace(sale("y"), expected_version=None), resend=True)) == ["appended"]


async def test_a_stream_of_one_event_never_has_two(theatre: Database) -> None:
    async with theatre.connection("office") as connection:
        await send(connection, replace(sale("x"), expected_version=None))
        with pytest.raises(asyncpg.UniqueViolationError):
            await send(connection, replace(sale("x"), expected_version=None))
    assert await positions(theatre) == [1]


async def test_a_name_is_taken_for_ever(office: Log) -> None:
    name = Name(os.urandom(32))
    await office.append(sale(names=(name,)))
    with pytest.raises(NameTaken):
        await office.append(sale(names=(Name(os.urandom(32)), name)))


async def test_a_command_that_fails_takes_neither_name_nor_key(office: Log) -> None:
    name, once = Name(os.urandom(32)), key(os.urandom(32))
    await office.append(sale("x"))
    with pytest.raises(VersionConflict):
        await office.append(sale("x", 0, names=(name,), once=(once,)))
    await office.append(sale("x", 1, names=(name,), once=(once,)))


async def test_fifty_at_once_use_a_key_once(office: Log) -> None:
    once = key(os.urandom(32))
    answers = await asyncio.gather(*(office.append(sale(once=(once,))) for _ in range(50)), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert sum(isinstance(answer, AlreadyUsed) for answer in answers) == 49


async def test_a_key_whose_day_is_forgotten_counts_as_used(office: Log) -> None:
    with pytest.raises(AlreadyUsed):
        await office.append(sale(once=(OnceKey(os.urandom(32), datetime.now(UTC) - timedelta(days=30)),)))
    await office.append(sale(once=(OnceKey(os.urandom(32), datetime.now(UTC) + timedelta(days=13)),)))


async def test_a_key_far_beyond_what_is_kept_is_refused(office: Log, theatre: Database) -> None:
    with pytest.raises(AppendFailed):
        await office.append(sale(once=(OnceKey(os.urandom(32), datetime.now(UTC) + timedelta(days=400)),)))
    assert await positions(theatre) == []


async def test_in_a_group_the_first_wins_and_losers_burn_nothing(theatre: Database) -> None:
    one, two, three = (Name(os.urandom(32)) for _ in range(3))
    async with theatre.connection("office") as connection:
        group = [sale(names=(one,)), sale(names=(one, two)), sale(names=(two, three)), sale(names=(three,))]
        assert won(await send(connection, *group)) == ["appended", "name_taken", "appended", "name_taken"]
        used = [key(digest.digest) for digest in (one, two)]
        group = [sale("x", 7, once=(used[0],)), sale(once=(used[0],)), sale(once=tuple(used)), sale(once=(used[1],))]
        assert won(await send(connection, *group)) == ["conflict", "appended", "used", "appended"]
    assert await positions(theatre) == [1, 2, 3, 4]


async def test_names_and_keys_of_two_services_are_apart(office: Log, door: Log) -> None:
    name, once = Name(os.urandom(32)), key(os.urandom(32))
    await office.append(sale(names=(name,), once=(once,)))
    visit = Append("visit-x", 0, (Opened(who="x"),), context(), names=(name,), once=(once,))
    assert (await door.append(visit)).position == 2


async def test_a_group_has_one_command_of_a_stream(theatre: Database) -> None:
    async with theatre.connection("office") as connection:
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await send(connection, sale("x", 0), sale("x", 1))


async def test_many_at_once_on_one_stream_conflict_or_follow(office: Log, theatre: Database) -> None:
    async def add(number: int) -> None:
        while True:
            version = (await office.load("ticket-x")).version
            try:
                await office.append(sale("x", version, seat=number + 1))
            except VersionConflict:
                continue
            return

    await asyncio.gather(*(add(number) for number in range(20)))
    stream = await office.load("ticket-x")
    assert [event.version for event in stream.events] == list(range(1, 21))
    assert sorted(e.event.seat for e in stream.events if isinstance(e.event, Sold)) == list(range(1, 21))
    assert await positions(theatre) == list(range(1, 21))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(sale(), stream="ticket-a\nb"),
        replace(sale(), context=replace(context(), actor="a\nb")),
        replace(sale(), context=replace(context(), correlation_id="a\nb")),
    ],
    ids=["stream", "actor", "correlation_id"],
)
async def test_no_field_of_the_hash_can_hold_the_end_of_a_line(office: Log, theatre: Database, wrong: Append) -> None:
    with pytest.raises(AppendFailed):
        await office.append(wrong)
    assert await positions(theatre) == []


async def test_hashes_can_be_computed_by_anybody(office: Log, watch: Log) -> None:
    await office.append(Append("ticket-ä ö", 0, (Sold(ticket="Zoë ✓ \u2028"), Sold(ticket='"\\')), context()))
    await office.append(Append("note-1", None, (Noted(note="\x00 \\u0000"),), replace(context(), causation_id=2)))
    rows = await watch.read_rows(0, limit=10)
    assert [row.position for row in rows] == [1, 2, 3]
    for row in rows:
        assert data_digest(row.salt, row.data) == row.data_digest
        assert leaf_hash(row) == row.leaf_hash
        assert is_intact(row)
        assert not is_intact(replace(row, data=row.data + " "))
        assert not is_intact(replace(row, position=row.position + 1))
        assert not is_intact(replace(row, causation_id=1))
    assert len({row.salt for row in rows}) == 3
    assert moment(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)) == "2026-01-02T03:04:05.000006Z"


async def test_time_does_not_go_back(office: Log, theatre: Database) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    async with theatre.connection() as connection:
        await connection.execute("UPDATE log.head SET recorded_at = $1", ahead)
    assert (await office.append(sale())).recorded_at == ahead


async def test_personal_data_is_read_with_its_key_alone(theatre: Database) -> None:
    class Keys:
        def __init__(self) -> None:
            self.asked: list[set[str]] = []

        async def keys(self, subs: object) -> dict[str, bytes]:
            assert isinstance(subs, set)
            self.asked.append(subs)
            return {"freddie": b"k" * 32} if "freddie" in subs else {}

    keys = Keys()
    log = await theatre.log("office", OFFICE, personal_keys=keys)
    await log.append(sale())
    assert await log.read(0)
    assert keys.asked == []
    for sub in ("freddie", "brian"):
        event = Enrolled(sub=sub, name=Personal(f"the name of {sub}"))
        await log.append(Append(f"person-{sub}", 0, (event,), context(), personal_key=b"k" * 32))
    names = {e.event.sub: e.event.name.reveal() for e in await log.read(0) if isinstance(e.event, Enrolled)}
    assert names == {"freddie": "the name of freddie", "brian": None}
    assert keys.asked == [{"freddie", "brian"}]
    assert not any("the name" in row.data for row in await log.read_rows(0, limit=10))


async def test_whatever_text_it_is_stands_in_the_log_as_it_was_hashed(office: Log) -> None:
    texts = ['"', "\\", "\\u0000", "\0", "\n\t", "{}", "null", "\u00e9 \u2028 \U0001f3b8", "'); --", "x" * 10_000, ""]
    for text in texts:
        await office.append(Append(f"note-{new_id()}", None, (Noted(note=text),), context()))
    read = [recorded.event for recorded in await office.read(0)]
    assert [event.note for event in read if isinstance(event, Noted)] == texts
    for row in await office.read_rows(0, limit=100):
        assert row.data_digest == data_digest(row.salt, row.data)


async def test_what_cannot_be_written_fails_alone(office: Log, theatre: Database) -> None:
    wrong = [
        Append("ticket-u", 0, (Sold(ticket="\ud800"),), context()),
        Append("ticket-v", None, (Sold(ticket="v"), Sold(ticket="v")), context()),
        Append("ticket-w", 0, (), context()),
        Append("ticket-y", 2**40, (Sold(ticket="y"),), context()),
    ]
    answers = await asyncio.gather(*(office.append(a) for a in [*wrong, sale("good")]), return_exceptions=True)
    assert all(isinstance(answer, ValueError | AppendFailed) for answer in answers[:4]), answers
    assert await positions(theatre) == [1]


async def test_a_snapshot_older_than_the_gate_is_refused(theatre: Database) -> None:
    async with theatre.connection("office") as connection:
        transaction = connection.transaction(isolation="repeatable_read")
        await transaction.start()
        with pytest.raises(asyncpg.ActiveSQLTransactionError):
            await send(connection, sale())
        await transaction.rollback()


async def test_durability_cannot_be_turned_off(theatre: Database) -> None:
    async with theatre.connection("office") as connection:
        await connection.execute("SET synchronous_commit = off")
        async with connection.transaction():
            await send(connection, sale())
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
