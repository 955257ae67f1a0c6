from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from shared.denials import DenialKind, DenialRule
from shared.ids import new_id
from shared.log.append import Append, AsOf, EpochOver, Fence, Fenced
from shared.log.group_commit import AppendFailed
from shared.log.log import Log
from tests.support.postgres import Database
from tests.support.theatre import Barred, Locked, Opened, bar, context, positions, sale, send, won

GUEST = (DenialKind.CLIENT, "guest")
ANOTHER_SYSTEM = """UPDATE log.epochs SET system_identifier = system_identifier + 1;
    UPDATE log.head SET server_started_at = null"""
"""As if the log had been restored elsewhere."""


def let_in(as_of: Mapping[str, int], *parties: tuple[DenialKind, str], epoch: int = 1) -> Append:
    """The door opens for guests, as far as it has heard."""
    append = Append(
        "visit-1", None, (Opened(who="guest"),), context(), fence=Fence(AsOf(epoch, as_of), parties or (GUEST,))
    )
    return replace(append, stream=f"visit-{append.context.command_id}")


async def test_a_denial_that_was_not_heard_of_fences(office: Log, door: Log, theatre: Database) -> None:
    await office.append(sale())
    await office.append(bar("guest"))
    for as_of in ({}, {"office": 1}, {"door": 9}, {"office": 0, "door": 9}):
        with pytest.raises(Fenced) as fenced:
            await door.append(let_in(as_of))
        assert (fenced.value.source, fenced.value.position) == ("office", 2)
    await door.append(let_in({"office": 2}))
    await door.append(let_in({"office": 1}, (DenialKind.CLIENT, "other"), (DenialKind.SESSION, "guest")))
    assert await positions(theatre) == [1, 2, 3, 4]


async def test_each_source_has_its_own_position(office: Log, door: Log) -> None:
    await office.append(bar("guest"))
    await door.append(Append("lock-1", 0, (Locked(who="guest"),), context()))
    with pytest.raises(Fenced) as fenced:
        await door.append(let_in({"office": 1}))
    assert (fenced.value.source, fenced.value.position) == ("door", 2)
    with pytest.raises(Fenced) as fenced:
        await door.append(let_in({"door": 2}))
    assert (fenced.value.source, fenced.value.position) == ("office", 1)
    await door.append(let_in({"office": 1, "door": 2}))


async def test_the_last_denial_is_named(office: Log, door: Log) -> None:
    for _ in range(3):
        await office.append(bar("guest"))
    with pytest.raises(Fenced) as fenced:
        await door.append(let_in({"office": 1}))
    assert fenced.value.position == 3


async def test_lifting_does_not_fence_but_what_was_lifted_does(office: Log, door: Log) -> None:
    await office.append(bar("guest"))
    await office.append(bar("guest", DenialRule.LIFTED))
    await door.append(let_in({"office": 1}))
    with pytest.raises(Fenced):
        await door.append(let_in({}))
    await office.append(bar("guest", DenialRule.CUT_OFF))
    with pytest.raises(Fenced):
        await door.append(let_in({"office": 2}))


async def test_a_denial_in_the_same_group_fences_what_comes_after_it(theatre: Database) -> None:
    async with theatre.connection("door") as connection:

        def lock(who: str) -> Append:
            return Append(f"lock-{new_id()}", None, (Locked(who=who),), context())

        outcomes = await send(connection, let_in({}), lock("guest"), let_in({"door": 0}), lock("other"), let_in({}))
        assert won(outcomes) == ["appended", "appended", "fenced", "appended", "fenced"]
        assert [(outcomes[n].source, outcomes[n].position) for n in (2, 4)] == [("door", 2), ("door", 2)]
        losing = replace(lock("nobody"), expected_version=5)
        unknown = let_in({"door": 2}, (DenialKind.CLIENT, "nobody"))
        assert won(await send(connection, losing, unknown)) == ["conflict", "appended"]
    assert await positions(theatre) == [1, 2, 3, 4]


async def test_what_was_decided_in_another_epoch_is_decided_again(office: Log, door: Log, theatre: Database) -> None:
    """Positions of a lost branch say nothing of the one that took its place, where other denials stand at them."""
    await office.append(sale())
    before = let_in({"office": 9})
    assert (await door.append(before)).epoch == 1
    async with theatre.connection() as connection:
        await connection.execute(ANOTHER_SYSTEM)
    with pytest.raises(EpochOver):
        await door.append(let_in({"office": 9}))
    epoch = (await door.head()).epoch
    assert epoch > 1, "whoever decides again hears of it, also where nothing was appended yet"
    async with theatre.connection("door") as connection:
        outcomes = await send(connection, let_in({"office": 9}), let_in({"office": 9}, epoch=epoch))
        assert won(outcomes) == ["fenced", "appended"]
        assert (outcomes[0].source, outcomes[0].position) == (None, None)
    await office.append(bar("guest"))
    with pytest.raises(EpochOver):
        await door.append(let_in({"office": 9}))
    with pytest.raises(Fenced):
        await door.append(let_in({"office": 3}, epoch=epoch))
    assert await positions(theatre) == [1, 2, 3, 4]


async def test_what_was_appended_before_the_epoch_began_is_still_acknowledged(door: Log, theatre: Database) -> None:
    append = replace(let_in({}), stream="visit-1", expected_version=0)
    await door.append(append)
    async with theatre.connection() as connection:
        await connection.execute(ANOTHER_SYSTEM)
    again = await door.append(append)
    assert (again.epoch, again.position) == (1, 1)


async def test_denials_have_dense_numbers_and_the_position_of_their_event(office: Log, watch: Log) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    await office.append(
        Append("bar-1", 0, (Barred(who="a", times=2), Barred(who="b"), Barred(who="c", until=later)), context())
    )
    await office.append(sale())
    await office.append(bar("d", DenialRule.CUT_OFF, kind=DenialKind.SESSION))
    denials = await watch.denials_after(0, 10)
    assert [(d.number, d.position, d.denial.id) for d in denials] == [
        (1, 1, "a"), (2, 1, "a"), (3, 2, "b"), (4, 3, "c"), (5, 5, "d"),
    ]  # fmt: skip
    assert {(d.epoch, d.source) for d in denials} == {(1, "office")}
    assert denials[3].denial.until == later
    assert (denials[4].denial.kind, denials[4].denial.rule) == (DenialKind.SESSION, DenialRule.CUT_OFF)
    assert [d.number for d in await watch.denials_after(3, 1)] == [4]
    assert (await watch.head()).denial_number == 5


async def test_the_active_ones_are_those_that_still_say_something(office: Log, watch: Log) -> None:
    assert (await watch.active_denials()).denials == []
    now = datetime.now(UTC)
    wanted = [
        bar("lifted"),
        bar("lifted", DenialRule.LIFTED),
        bar("lifted", DenialRule.CUT_OFF),
        bar("again"),
        bar("again", DenialRule.LIFTED),
        bar("again"),
        bar("over", until=now - timedelta(hours=1)),
        bar("soon", until=now + timedelta(hours=1)),
        bar("soon", until=now + timedelta(minutes=1)),
        bar("cut", DenialRule.CUT_OFF),
        bar("cut", DenialRule.CUT_OFF),
        bar("cut", DenialRule.CUT_OFF, kind=DenialKind.SESSION),
    ]
    for append in wanted:
        await office.append(append)
    snapshot = await watch.active_denials()
    assert [d.number for d in snapshot.denials] == [3, 6, 8, 11, 12]
    assert (snapshot.head.position, snapshot.head.denial_number) == (12, 12)


async def test_a_type_denies_only_what_it_declares(office: Log, theatre: Database) -> None:
    with pytest.raises(AppendFailed, match="may not append denials of kind subject"):
        await office.append(bar("guest", kind=DenialKind.SUBJECT))
    assert await positions(theatre) == []
