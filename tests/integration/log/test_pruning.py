"""Denials are pruned when no token that they match can be alive, and nobody is let past one that is gone."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from shared.denials import LONGEST_ACCESS_TOKEN, DenialKind, DenialRule
from shared.log.append import Append, AsOf, Fence, Fenced
from shared.log.log import Log
from tests.support.postgres import Database
from tests.support.theatre import Barred, Opened, bar, context, send, won

STANDING, CUT_OFF, LIFTED = DenialRule.STANDING, DenialRule.CUT_OFF, DenialRule.LIFTED
SESSION, CLIENT = DenialKind.SESSION, DenialKind.CLIENT


def moment(**ago: float) -> datetime:
    return datetime.now(UTC) - timedelta(**ago)


@pytest.fixture
async def watching(theatre: Database) -> AsyncIterator[asyncpg.Connection]:
    async with theatre.connection("watch") as connection:
        yield connection


@pytest.fixture
async def superuser(theatre: Database) -> AsyncIterator[asyncpg.Connection]:
    async with theatre.connection() as connection:
        yield connection


async def age(superuser: asyncpg.Connection, **ago: float) -> None:
    """As if everything had been recorded so long ago."""
    await superuser.execute("UPDATE log.denials SET recorded_at = recorded_at - $1::interval", timedelta(**ago))


async def prune(watching: asyncpg.Connection) -> int:
    pruned: int = (await watching.fetchrow("SELECT * FROM log.care()"))["denials_pruned"]
    return pruned


async def left(superuser: asyncpg.Connection) -> list[int]:
    return [row["number"] for row in await superuser.fetch("SELECT number FROM log.denials ORDER BY number")]


def entering(who: str, as_of: int, kind: DenialKind = SESSION) -> Append:
    """The door lets somebody in, on what it knows of the office's facts."""
    return Append(
        f"visit-{who}-{as_of}",
        None,
        (Opened(who=who),),
        context(),
        fence=Fence(AsOf(1, {"office": as_of}), ((kind, who),)),
    )


async def test_the_log_and_the_issuer_mean_the_same_longest_life(superuser: asyncpg.Connection) -> None:
    assert await superuser.fetchval("SELECT log.longest_access_token()") == LONGEST_ACCESS_TOKEN


@pytest.mark.parametrize(
    ("until", "recorded", "goes"),
    [
        (timedelta(hours=-1), timedelta(hours=-25), True),
        (timedelta(minutes=-6), timedelta(hours=-25), True),
        (timedelta(minutes=-4), timedelta(hours=-25), False),
        (timedelta(hours=+1), timedelta(days=-90), False),
        (timedelta(hours=-20), timedelta(hours=-23), False),
        (timedelta(hours=-20), timedelta(hours=-24, minutes=-4), False),
        (timedelta(hours=-20), timedelta(hours=-24, minutes=-6), True),
        (None, timedelta(days=-900), False),
    ],
)
async def test_a_denial_goes_when_its_time_is_over_and_it_is_older_than_any_token(
    office: Log,
    watching: asyncpg.Connection,
    superuser: asyncpg.Connection,
    until: timedelta | None,
    recorded: timedelta,
    *,
    goes: bool,
) -> None:
    await office.append(bar("a", kind=SESSION, until=None if until is None else datetime.now(UTC) + until))
    await superuser.execute("UPDATE log.denials SET recorded_at = now() + $1::interval", recorded)
    assert await prune(watching) == goes
    assert await left(superuser) == ([] if goes else [1])


async def test_cut_offs_for_what_comes_from_a_session_end_with_the_tokens_before_them(
    office: Log, watch: Log, watching: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Those for a client or a subject may match reference tokens, whose life has no bound: the last one stays."""
    await office.append(bar("sid", CUT_OFF, kind=SESSION))
    await office.append(bar("app", CUT_OFF, kind=CLIENT))
    ends = {d.denial.id: (d.denial.until, d.recorded_at) for d in (await watch.active_denials()).denials}
    assert ends["sid"][0] == ends["sid"][1] + LONGEST_ACCESS_TOKEN
    assert ends["app"][0] is None
    assert [d.denial.until for d in await watch.denials_after(0, 10)] == [ends["sid"][0], None]
    await age(superuser, hours=24, minutes=4)
    assert await prune(watching) == 0
    assert len((await watch.active_denials()).denials) == 2
    await age(superuser, minutes=2)
    assert [d.denial.id for d in (await watch.active_denials()).denials] == ["app"]
    assert await prune(watching) == 1
    await age(superuser, days=900)
    assert await prune(watching) == 0
    assert await left(superuser) == [2]


@pytest.mark.parametrize("late", [timedelta(days=2), timedelta(days=900)])
async def test_a_late_clock_does_not_shorten_the_denial_of_a_session(
    office: Log, watch: Log, watching: asyncpg.Connection, superuser: asyncpg.Connection, late: timedelta
) -> None:
    await office.append(bar("sid", kind=SESSION, until=datetime.now(UTC) - late + LONGEST_ACCESS_TOKEN))
    (listed,), (told,) = (await watch.active_denials()).denials, await watch.denials_after(0, 10)
    assert listed.denial.until == told.denial.until == listed.recorded_at + LONGEST_ACCESS_TOKEN
    await age(superuser, hours=24, minutes=4)
    assert await prune(watching) == 0
    assert len((await watch.active_denials()).denials) == 1
    await age(superuser, minutes=2)
    assert (await watch.active_denials()).denials == []
    assert await prune(watching) == 1


async def test_a_clock_that_is_ahead_lengthens_it(office: Log, watch: Log) -> None:
    until = datetime.now(UTC) + timedelta(days=5)
    await office.append(bar("sid", kind=SESSION, until=until))
    assert [told.denial.until for told in await watch.denials_after(0, 10)] == [until]


async def test_of_several_alike_the_last_stays(
    office: Log, watch: Log, watching: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    for who in ("a", "b", "a", "a"):
        await office.append(bar(who, CUT_OFF))
    for _ in range(2):
        await office.append(bar("c"))
    assert await prune(watching) == 0, "a day has to pass, for those who are behind"
    await age(superuser, hours=25)
    before = [(d.number, d.denial) for d in (await watch.active_denials()).denials]
    assert await prune(watching) == 3
    assert await left(superuser) == [2, 4, 6]
    assert [(d.number, d.denial) for d in (await watch.active_denials()).denials] == before


async def test_an_exception_is_not_superseded_by_another(
    office: Log, watching: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    for _ in range(3):
        await office.append(bar("a", CUT_OFF))
    await superuser.execute("UPDATE log.denials SET kind = 'subject', except_id = 's' WHERE number = 2")
    await superuser.execute("UPDATE log.denials SET kind = 'subject'")
    await age(superuser, hours=25)
    assert await prune(watching) == 1
    assert await left(superuser) == [2, 3]


async def test_what_was_lifted_goes_with_its_lifting(
    office: Log, watch: Log, watching: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    for who, rule in (("a", STANDING), ("a", CUT_OFF), ("a", LIFTED), ("b", STANDING), ("b", LIFTED), ("b", STANDING)):
        await office.append(bar(who, rule))
    assert await prune(watching) == 0
    await age(superuser, hours=25)
    await office.append(bar("d", LIFTED))
    before = [(d.number, d.denial) for d in (await watch.active_denials()).denials]
    assert await prune(watching) == 4
    assert await left(superuser) == [2, 6, 7]
    assert [(d.number, d.denial) for d in (await watch.active_denials()).denials] == before


async def test_a_lifting_stays_as_long_as_anything_that_it_lifts(
    office: Log, watch: Log, watching: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Page by page too: nothing rises again because its lifting went first."""
    for _ in range(3):
        await office.append(bar("a"))
    await office.append(bar("a", LIFTED))
    await age(superuser, hours=25)
    pages, after = [], 0
    while after is not None:
        page = await watching.fetchrow("SELECT * FROM log.care($1, 1)", after)
        after = page["next_after"]
        pages.append((page["denials_pruned"], after))
        assert (await watch.active_denials()).denials == []
    assert pages == [(1, 1), (1, 2), (1, 3), (1, 4), (0, None)]
    assert await left(superuser) == []


async def test_a_key_is_never_forgiven(
    office: Log, watching: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    for rule in (STANDING, LIFTED):
        await office.append(bar("kid", rule))
    await superuser.execute("UPDATE log.denials SET kind = 'key'")
    await age(superuser, days=900)
    assert await prune(watching) == 0
    assert await left(superuser) == [1, 2]


async def test_whoever_is_behind_what_was_pruned_is_fenced(
    office: Log, door: Log, watching: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """The denial is gone, and still nobody is let in who was barred and of whom the door has not heard."""
    before = (await office.append(bar("else", kind=SESSION, until=moment(hours=1)))).position
    barred = (await office.append(bar("a", kind=SESSION, until=moment(hours=1)))).position
    with pytest.raises(Fenced):
        await door.append(entering("a", before))
    await age(superuser, hours=25)
    assert await prune(watching) == 2
    with pytest.raises(Fenced) as fenced:
        await door.append(entering("a", before))
    assert (fenced.value.source, fenced.value.position) == ("office", barred)
    with pytest.raises(Fenced):
        await door.append(entering("another", before))
    await door.append(entering("a", barred))
    await door.append(entering("a", before, CLIENT))
    await door.append(Append("visit-x", None, (Opened(who="x"),), context()))


async def test_its_owner_is_not_held_up(
    office: Log, watching: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Its `as_of` is when it looked at one party, in tables that are never late."""
    await office.append(bar("a", kind=SESSION, until=moment(hours=1)))
    await age(superuser, hours=25)
    assert await prune(watching) == 1
    own = Append("bar-x", None, (Barred(who="b"),), context(), fence=Fence(AsOf(1, {"office": 0}), ((SESSION, "a"),)))
    await office.append(own)


async def test_a_fence_meets_the_superseded_in_what_superseded_it(
    office: Log, door: Log, watching: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await office.append(bar("a", CUT_OFF))
    last = (await office.append(bar("a", CUT_OFF))).position
    await age(superuser, hours=25)
    assert await prune(watching) == 1
    for as_of in range(last):
        with pytest.raises(Fenced) as fenced:
            await door.append(entering("a", as_of, CLIENT))
        assert fenced.value.position == last
    await door.append(entering("a", last, CLIENT))


async def test_appends_and_prunings_do_not_cross(
    office: Log, watching: asyncpg.Connection, theatre: Database, superuser: asyncpg.Connection
) -> None:
    """A pruning holds the gate until its commit, so an append sees the denial, or the horizon."""
    await office.append(bar("a", kind=SESSION, until=moment(hours=1)))
    await age(superuser, hours=25)
    async with watching.transaction():
        assert await prune(watching) == 1
        async with theatre.connection("door") as other:
            await other.execute("SET lock_timeout = '100ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await send(other, entering("a", 0))
    async with theatre.connection("door") as other:
        assert won(await send(other, entering("a", 0))) == ["fenced"]
