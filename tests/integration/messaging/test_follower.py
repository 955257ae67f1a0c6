"""The follower: views are complete and in order, whatever messages do and whether or not there is NATS."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.identity import events as identity
from services.registry import events as registry
from shared.errors import Unavailable
from shared.log.event import Catalogue, Put, Recorded, RowChange
from shared.log.log import Log
from shared.messaging import Follower, NatsAccess, follower
from shared.messaging.access import STREAM
from shared.relay import Relay
from shared.wake import Wake
from tests.support.facts import EVERYTHING, Facts
from tests.support.nats import NatsServer, stream_info
from tests.support.work import Work, eventually

SOURCES = ("registry", "identity")
NOWHERE = NatsAccess("nats://127.0.0.1:9", "token_issuer", "none")


@dataclass
class Projection:
    """Notes every fact that it is asked about, and can be made to fail."""

    name: str = "test"
    fail_at: int | None = None
    spoil_at: int | None = None
    asked: list[int] = field(default_factory=list)

    def __call__(self, recorded: Recorded) -> Iterable[RowChange]:
        position = recorded.position
        assert isinstance(position, int)
        if position == self.fail_at:
            raise RuntimeError("this fact cannot be projected")
        self.asked.append(position)
        event = recorded.event
        yield Put(
            "token_issuer.seen",
            {
                "position": -1 if position == self.spoil_at else position,
                "source": event.source,
                "type": event.stored_as,
                "epoch": recorded.epoch,
            },
        )


async def seen(log: Log) -> list[int]:
    rows = await log.pool.fetch("SELECT position FROM token_issuer.seen ORDER BY position")
    return [row["position"] for row in rows]


async def all_seen(log: Log, positions: Iterable[int]) -> None:
    expected = sorted(positions)

    async def complete() -> bool:
        return await seen(log) == expected

    await eventually(complete)


async def registry_fact(facts: Facts, name: str = "x") -> int:
    event = registry.SecretAdded(client_id=name, secret_id="one", secret_digest="d")
    return (await facts.write(f"application-{name}", event)).position


async def identity_fact(facts: Facts, name: str = "x") -> int:
    return (await facts.write(f"user-{name}", identity.PasswordSet(sub=name))).position


async def relay(facts: Facts, server: NatsServer, work: Work) -> Relay:
    log = await facts.log("ledger")
    wake = Wake(log)
    relaying = Relay(log, wake, server.access("ledger"))
    work.start(wake.run())
    work.start(relaying.run())
    return relaying


async def publish(client: Client, source: str = "registry", **headers: str) -> None:
    """One message on a subject of the source's, as if it told of an event."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    await client.publish(f"stagedoor.events.{source}.Something", b"anything", headers=named)
    await client.flush()


def counted(what: str, projection: str) -> float:
    return sum(
        REGISTRY.get_sample_value(f"stagedoor_follower_{what}", {"projection": projection, "source": source}) or 0.0
        for source in SOURCES
    )


@pytest.fixture
def only_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """No polling of the log after the first look, so that whatever happens is brought about by messages."""
    monkeypatch.setattr(follower, "POLL_SECONDS", 3600.0)


async def heard(following: Follower) -> None:
    await eventually(lambda: following.readiness().ok and following.readiness().detail == "over NATS")


@pytest.mark.usefixtures("only_messages")
async def test_facts_come_over_nats(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    await relay(facts, nats_server, work)
    log = await facts.log("token_issuer")
    expected = [await registry_fact(facts), await identity_fact(facts)]
    projection = Projection("over_nats")
    following = Follower(log, projection.name, SOURCES, projection, nats_server.access("token_issuer"))
    work.start(following.run())
    await all_seen(log, expected)
    await heard(following)
    for number in range(30):
        expected += [await registry_fact(facts, f"a{number}"), await identity_fact(facts, f"u{number}")]
    await all_seen(log, expected)
    assert counted("events_total", projection.name) == len(expected)
    assert sorted(projection.asked) == expected, "each fact was projected once"
    assert await log.checkpoints(projection.name) == {"registry": expected[-2], "identity": expected[-1]}


@pytest.mark.usefixtures("only_messages")
async def test_one_message_brings_all_that_is_there(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    client = await nats_server.connect()
    log = await facts.log("token_issuer")
    projection = Projection("one_for_all")
    following = Follower(log, projection.name, ("registry",), projection, nats_server.access("token_issuer"))
    work.start(following.run())
    await heard(following)
    for number in range(3):
        await registry_fact(facts, f"a{number}")
    await publish(client, stagedoor_position="2")
    await all_seen(log, [1, 2, 3])
    assert projection.asked == [1, 2, 3]
    await client.close()


@pytest.mark.usefixtures("only_messages")
async def test_a_burst_of_messages_is_few_reads(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    client = await nats_server.connect()
    log = await facts.log("token_issuer")
    projection = Projection("burst")
    following = Follower(log, projection.name, ("registry",), projection, nats_server.access("token_issuer"))
    work.start(following.run())
    await heard(following)
    for number in range(5):
        await registry_fact(facts, f"a{number}")
    await eventually(lambda: counted("looks_total", projection.name) >= 1)
    looks = counted("looks_total", projection.name)
    for number in (1, 1, 3, 2, 3, 5, 4, 1, 5) * 100:
        await client.publish("stagedoor.events.registry.X", headers={"stagedoor-position": str(number)})
    await client.flush()
    await all_seen(log, [1, 2, 3, 4, 5])
    assert projection.asked == [1, 2, 3, 4, 5]
    assert counted("looks_total", projection.name) - looks < 20
    await client.close()


@pytest.mark.usefixtures("only_messages")
@pytest.mark.parametrize(("what", "most"), [("shared.messaging.view._BATCH", 3), ("shared.log.pages.PAGE_BYTES", 100)])
async def test_more_than_one_read_can_hold_comes_by_one_message(
    facts: Facts, nats_server: NatsServer, work: Work, monkeypatch: pytest.MonkeyPatch, what: str, most: int
) -> None:
    monkeypatch.setattr(what, most)
    client = await nats_server.connect()
    log = await facts.log("token_issuer")
    projection = Projection()
    following = Follower(log, projection.name, ("registry",), projection, nats_server.access("token_issuer"))
    work.start(following.run())
    await heard(following)
    for number in range(10):
        await registry_fact(facts, f"a{number}")
    await publish(client, stagedoor_position="10")
    await all_seen(log, range(1, 11))
    await client.close()


async def test_a_restored_log_that_lost_a_tail_is_followed_from_there(facts: Facts, work: Work) -> None:
    """What was read of the lost branch is nothing to go by; the new branch has other facts at its positions."""
    for name in ("a", "b"):
        await registry_fact(facts, name)
    living = await facts.branch()
    log = await living.log("token_issuer")
    projection = Projection()
    following = Follower(log, projection.name, ("registry",), projection, None)
    work.start(following.run())
    await all_seen(log, [1, 2])
    await registry_fact(living, "e")
    await all_seen(log, [1, 2, 3])
    assert projection.asked == [1, 2, 3]
    await living.database.close()


async def test_a_fact_that_cannot_be_projected_stops_it_and_is_never_skipped(
    facts: Facts, nats_server: NatsServer, work: Work
) -> None:
    await relay(facts, nats_server, work)
    log = await facts.log("token_issuer")
    projection = Projection(fail_at=3)
    following = Follower(log, projection.name, SOURCES, projection, nats_server.access("token_issuer"))
    work.start(following.run())
    for number in range(5):
        await registry_fact(facts, f"a{number}")
    other = await identity_fact(facts)
    await eventually(lambda: "registry at 3 (RuntimeError)" in following.readiness().detail)
    await all_seen(log, [1, 2, other])
    assert not following.readiness().ok
    with pytest.raises(Unavailable):
        await following.catch_up("registry", 4)
    with pytest.raises(Unavailable):
        await following.reach(4)
    assert await seen(log) == [1, 2, other]

    projection.fail_at = None
    await all_seen(log, [1, 2, 3, 4, 5, other])
    await eventually(lambda: following.readiness().ok)
    assert [position for position in projection.asked if position != other] == [1, 2, 3, 4, 5]


async def test_a_stop_shows_in_the_metrics_until_it_is_over(facts: Facts, work: Work) -> None:
    projection = Projection("counted_stop", fail_at=1)
    following = Follower(await facts.log("token_issuer"), projection.name, SOURCES, projection, None)
    await registry_fact(facts)
    work.start(following.run())
    await eventually(lambda: counted("stopped", projection.name) == 1)
    # Nothing moves, and so it grows.
    await eventually(lambda: counted("lag_seconds", projection.name) > 2.2)
    assert counted("lag_positions", projection.name) == 1
    projection.fail_at = None
    await eventually(lambda: counted("stopped", projection.name) == 0)
    await eventually(lambda: counted("lag_seconds", projection.name) < 2.2)
    assert counted("lag_positions", projection.name) == 0


async def test_a_replica_that_cannot_go_on_stops_nobody_who_can(facts: Facts, work: Work) -> None:
    """And when the others have brought the tables past the fact, it goes on from there as well."""
    log = await facts.log("token_issuer")
    old, new = Projection("upgraded", fail_at=2), Projection("upgraded")
    stuck = Follower(log, "upgraded", ("registry",), old, None)
    for number in range(3):
        await registry_fact(facts, f"a{number}")
    work.start(stuck.run())
    await eventually(lambda: "registry at 2" in stuck.readiness().detail)
    work.start(Follower(log, "upgraded", ("registry",), new, None).run())
    await all_seen(log, [1, 2, 3])
    await eventually(lambda: stuck.readiness().ok and stuck.readiness().lag == 0)
    await registry_fact(facts, "b")
    await stuck.reach(4)
    assert await seen(log) == [1, 2, 3, 4]


async def test_rows_that_the_table_refuses_stop_it_likewise(facts: Facts, work: Work) -> None:
    log = await facts.log("token_issuer")
    projection = Projection(spoil_at=3)
    following = Follower(log, projection.name, SOURCES, projection, None)
    for number in range(5):
        await registry_fact(facts, f"a{number}")
    work.start(following.run())
    await eventually(lambda: "registry at 3 (CheckViolationError)" in following.readiness().detail)
    await all_seen(log, [1, 2])
    projection.spoil_at = None
    await all_seen(log, [1, 2, 3, 4, 5])


async def test_an_event_that_this_version_does_not_know_stops_it(facts: Facts, work: Work) -> None:
    known = Catalogue(*(event for event in EVERYTHING if event is not registry.ApplicationEnabled))
    log = await facts.database.log("token_issuer", known)
    await registry_fact(facts, "a")
    await registry_fact(facts, "b")
    await facts.write("application-c", registry.ApplicationEnabled(client_id="c"))
    await registry_fact(facts, "d")
    following = Follower(log, "test", SOURCES, Projection(), None)
    work.start(following.run())
    await eventually(lambda: "registry at 3 (UnreadableEvent)" in following.readiness().detail)
    await all_seen(log, [1, 2])


async def test_a_member_that_this_version_does_not_know_stops_it(facts: Facts, work: Work) -> None:
    """To read on without it would be to know less than what was said."""
    log = await facts.log("token_issuer")
    await registry_fact(facts, "a")
    await registry_fact(facts, "b")
    await facts.execute("""UPDATE log.events SET data = replace(data, '{', '{"added_later":1,') WHERE position = 2""")
    following = Follower(log, "test", SOURCES, Projection(), None)
    work.start(following.run())
    await eventually(lambda: "registry at 2 (UnreadableEvent)" in following.readiness().detail)
    await all_seen(log, [1])


async def test_without_nats_it_follows_by_polling(facts: Facts, work: Work) -> None:
    log = await facts.log("token_issuer")
    following = Follower(log, "test", SOURCES, Projection(), NOWHERE)
    work.start(following.run())
    expected = [await registry_fact(facts), await identity_fact(facts)]
    await all_seen(log, expected)
    expected.append(await registry_fact(facts, "y"))
    await all_seen(log, expected)
    check = following.readiness()
    assert check.ok
    assert "without NATS" in check.detail


@pytest.mark.usefixtures("only_messages")
async def test_it_hears_nats_again_after_it_was_gone(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    relaying = await relay(facts, nats_server, work)
    log = await facts.log("token_issuer")
    following = Follower(log, "test", SOURCES, Projection(), nats_server.access("token_issuer"))
    work.start(following.run())
    await heard(following)
    expected = [await registry_fact(facts)]
    await all_seen(log, expected)
    await nats_server.kill()
    await eventually(lambda: "without NATS" in following.readiness().detail)
    expected += [await registry_fact(facts, "y"), await identity_fact(facts)]
    await nats_server.start()
    await all_seen(log, expected)
    await eventually(lambda: relaying.position == 3)
    expected.append(await registry_fact(facts, "z"))
    await all_seen(log, expected)


@pytest.mark.usefixtures("only_messages")
async def test_it_hears_a_stream_that_was_made_anew(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    relaying = await relay(facts, nats_server, work)
    log = await facts.log("token_issuer")
    projection = Projection()
    following = Follower(log, projection.name, ("registry",), projection, nats_server.access("token_issuer"))
    work.start(following.run())
    await heard(following)
    await registry_fact(facts, "a")
    await all_seen(log, [1])
    client = await nats_server.connect()
    await client.jetstream().delete_stream(STREAM)
    await registry_fact(facts, "b")
    await eventually(lambda: relaying.position == 2, 30)
    await all_seen(log, [1, 2])
    assert (await stream_info(client)).state.messages == 2
    await client.close()
    assert projection.asked == [1, 2]


async def test_replicas_share_the_work_and_double_nothing(facts: Facts, nats_server: NatsServer, work: Work) -> None:
    await relay(facts, nats_server, work)
    log = await facts.log("token_issuer")
    projections = [Projection(), Projection(), Projection()]
    followers = [
        Follower(log, "shared", SOURCES, projection, nats_server.access("token_issuer")) for projection in projections
    ]
    for following in followers:
        work.start(following.run())
    expected = []
    for number in range(40):
        expected += [await registry_fact(facts, f"a{number}"), await identity_fact(facts, f"u{number}")]
    await all_seen(log, expected)
    for following in followers:
        await eventually(lambda following=following: following.readiness().lag == 0)  # type: ignore[misc]
    assert await log.checkpoints("shared") == {"registry": expected[-2], "identity": expected[-1]}


async def test_catching_up_needs_neither_nats_nor_a_running_follower(facts: Facts) -> None:
    log = await facts.log("token_issuer")
    following = Follower(log, "test", SOURCES, Projection(), None)
    first = await registry_fact(facts)
    other = await identity_fact(facts)
    await following.catch_up("registry", first)
    assert await seen(log) == [first]
    await following.catch_up("identity", other)
    assert await seen(log) == [first, other]
    with pytest.raises(Unavailable):
        await following.catch_up("resource", first)
    with pytest.raises(Unavailable):
        await following.catch_up("registry", other + 1)


async def test_a_minimum_position_is_waited_for(facts: Facts, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await facts.log("token_issuer")
    following = Follower(log, "test", SOURCES, Projection(), None)
    first = await registry_fact(facts)
    await following.reach(first)
    assert await seen(log) == [first]

    waiting = work.start(following.reach(first + 2))
    second, third = await registry_fact(facts, "y"), await identity_fact(facts)
    await asyncio.wait_for(waiting, 5)
    assert await seen(log) == [first, second, third]

    monkeypatch.setattr(follower, "WAIT_SECONDS", 0.2)
    with pytest.raises(Unavailable):
        await following.reach(third + 1)


async def test_a_fact_of_no_followed_source_counts_as_reached(facts: Facts) -> None:
    log = await facts.log("token_issuer")
    following = Follower(log, "test", ("identity",), Projection(), None)
    position = await registry_fact(facts)
    await following.reach(position)
    assert await seen(log) == []
