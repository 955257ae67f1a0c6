"""A follower goes on while the log under it loses a tail, and gives the positions of that out again."""

from collections.abc import Awaitable, Callable

import pytest

from shared.log.log import Log
from shared.messaging import Follower
from tests.integration.messaging.test_follower import Projection, all_seen, registry_fact, seen
from tests.support.facts import Facts
from tests.support.work import Work

SOURCES = ("registry",)


async def lose_all_but_the_first(facts: Facts) -> None:
    """As if a back-up were put back that has the first fact alone, tables and all."""
    facts.database.spoiled = True
    await facts.execute(
        "DELETE FROM log.events WHERE position > 1; DELETE FROM log.streams WHERE stream <> 'application-kept';"
        "UPDATE log.head SET position = 1, server_started_at = '-infinity';"
        "UPDATE log.epochs SET system_identifier = system_identifier + 1;"
        "DELETE FROM token_issuer.seen WHERE position > 1;"
        "UPDATE token_issuer.checkpoints SET position = 1"
    )


async def having_seen_what_is_lost(facts: Facts, projection: Projection) -> tuple[Log, Follower]:
    log = await facts.log("token_issuer")
    following = Follower(log, projection.name, SOURCES, projection, None)
    await registry_fact(facts, "kept")
    last = [await registry_fact(facts, f"lost{number}") for number in range(4)][-1]
    await following.reach(last)
    assert await seen(log) == [1, 2, 3, 4, 5]
    await lose_all_but_the_first(facts)
    return log, following


async def reach(facts: Facts, following: Follower) -> None:
    head = await (await facts.log("token_issuer")).head()
    await following.reach(head.position, head.epoch)


async def catch_up(facts: Facts, following: Follower) -> None:
    """As who was told that something is missing at that position, which it believes to have."""
    await following.catch_up("registry", (await (await facts.log("token_issuer")).head()).position)


@pytest.mark.parametrize("how", [reach, catch_up], ids=["who reads the head", "who was fenced"])
async def test_a_position_that_was_reached_before_is_reached_again(
    facts: Facts, how: Callable[[Facts, Follower], Awaitable[None]]
) -> None:
    log, following = await having_seen_what_is_lost(facts, Projection(f"lost_{how.__name__}"))
    assert await registry_fact(facts, "new") == 2
    await how(facts, following)
    assert await seen(log) == [1, 2]
    assert following.complete_to == 2


async def test_the_next_look_finds_it(facts: Facts, work: Work) -> None:
    log, following = await having_seen_what_is_lost(facts, Projection("lost_look"))
    assert [await registry_fact(facts, name) for name in ("new", "newer")] == [2, 3]
    work.start(following.run())
    await all_seen(log, [1, 2, 3])


async def test_what_a_restored_view_lacks_is_applied_before_anything_is_appended(facts: Facts, work: Work) -> None:
    """The back-up's tables may be behind its log; as long as nobody appends, the epoch is the old one."""
    log, following = await having_seen_what_is_lost(facts, Projection("lost_behind"))
    await facts.execute("DELETE FROM token_issuer.seen; UPDATE token_issuer.checkpoints SET position = 0")
    work.start(following.run())
    await all_seen(log, [1])
