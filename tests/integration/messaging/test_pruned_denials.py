"""Whoever watches denials by number and is behind what was pruned sees that some are missing, and takes a snapshot."""

from datetime import UTC, datetime, timedelta

import msgspec
from nats.aio.msg import Msg

from services.identity import events as identity
from services.registry import events as registry
from shared.feed import DenialFeed, DenialMessage
from shared.log_feed import LogFeed
from shared.wake import Wake
from stagedoor.denials import DenialView
from stagedoor.nats import NatsFeed
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.work import Work, eventually


async def deny(facts: Facts, name: str) -> int:
    return (await facts.write(f"application-{name}", registry.ApplicationUninstalled(client_id=name))).position


async def end_session(facts: Facts, sid: str) -> int:
    ended = identity.SessionEnded(
        sub="freddie",
        sid=sid,
        reason=identity.SessionEndReason.SIGNED_OUT,
        tokens_end_at=datetime.now(UTC) - timedelta(hours=1),
    )
    return (await facts.write(f"session-{sid}", ended)).position


async def prune(facts: Facts) -> int:
    """A day later."""
    await facts.execute("UPDATE log.denials SET recorded_at = recorded_at - interval '25 hours'")
    log = await facts.log("ledger")
    return int((await log.pool.fetchrow("SELECT * FROM log.care()"))["denials_pruned"])


async def test_a_view_that_slept_begins_again_from_a_snapshot(facts: Facts, work: Work) -> None:
    await deny(facts, "first")
    log = await facts.log("token_issuer")
    wake, view = Wake(log), DenialView()
    feed = LogFeed(log, wake)
    following = work.start(feed.run(view))
    await eventually(lambda: view.number == 1)
    await work.stop(following)
    await deny(facts, "second")
    await end_session(facts, "slept")
    last = await deny(facts, "third")
    assert await prune(facts) == 1
    await feed.ping()
    assert (view.number, view.position, view.incomplete) == (4, last, False)
    assert len(view) == 3


async def test_a_view_that_slept_past_everything_pruned_at_the_end(facts: Facts, work: Work) -> None:
    await deny(facts, "first")
    log = await facts.log("token_issuer")
    wake, view = Wake(log), DenialView()
    feed = LogFeed(log, wake)
    following = work.start(feed.run(view))
    await eventually(lambda: view.number == 1)
    await work.stop(following)
    last = await end_session(facts, "slept")
    assert await prune(facts) == 1
    await feed.ping()
    assert (view.number, view.position, view.incomplete) == (2, last, False)


async def test_a_new_leader_tells_what_is_left_and_guards_get_over_the_gap(
    facts: Facts, nats_server: NatsServer, work: Work
) -> None:
    numbers: list[int] = []
    client = await nats_server.connect("resource_server")

    async def take(message: Msg) -> None:
        if message.subject != "stagedoor.denials.heartbeat":
            numbers.append(msgspec.json.decode(message.data, type=DenialMessage).number)

    await client.subscribe("stagedoor.denials.>", cb=take)
    await client.flush()
    await deny(facts, "first")
    await end_session(facts, "slept")
    last = await deny(facts, "third")
    assert await prune(facts) == 1
    log = await facts.log("ledger")
    wake = Wake(log)
    work.start(wake.run())
    feed = DenialFeed(log, wake, nats_server.access("ledger"), 0.1)
    work.start(feed.answer())
    await eventually(lambda: feed.readiness().ok)
    view = DenialView()
    access = nats_server.access("resource")
    following = NatsFeed(
        access.url,
        user=access.user,
        password=access.password,
        inbox_prefix=access.inbox_prefix.decode(),
        heartbeat_seconds=0.1,
    )
    work.start(following.run(view))
    work.start(feed.publish())
    await eventually(lambda: (view.number, view.position, view.incomplete) == (3, last, False))
    await eventually(lambda: numbers[-1:] == [3])
    assert set(numbers) == {1, 3}
    await client.close()
