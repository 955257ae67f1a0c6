"""A resource server of another team has the ledger speak for it, by naming the place that an answer is to go to.

Whoever asks over NATS says where the answer goes, and the ledger sends it there with its own rights: it may publish
events and denials, and has a say over the stream.
"""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.feed import DenialFeed
from shared.log.log import Log
from shared.messaging.access import PING, SNAPSHOT
from shared.wake import Wake
from tests.support.facts import Facts
from tests.support.nats import NatsServer, stream_info
from tests.support.nats import nats_server as nats_server  # noqa: PLC0414  (a fixture)
from tests.support.relaying import caught_up, check_copy, start, write
from tests.support.work import Work, eventually

QUESTIONS = ((PING, b""), (SNAPSHOT, b'{"page":0}'))


@pytest.fixture
async def thief(facts: Facts, nats_server: NatsServer, work: Work) -> AsyncIterator[Client]:
    """What the resource servers of other teams are given, beside a ledger that answers."""
    log: Log = await facts.log("ledger")
    wake = Wake(log)
    work.start(wake.run())
    feed = DenialFeed(log, wake, nats_server.access("ledger"), 3600.0)
    work.start(feed.answer())
    await eventually(lambda: feed.readiness().ok)
    client = await nats_server.connect("resource_server")
    yield client
    await client.close()


async def ask(thief: Client, place: str) -> None:
    """Have answers sent to a place; return when the ledger has done with these questions."""
    for subject, question in QUESTIONS:
        await thief.publish(subject, question, reply=place)
    # Pings are answered side by side, snapshots one after the other.
    for subject, question in QUESTIONS:
        await thief.request(subject, question, timeout=5)


@pytest.mark.parametrize("inbox", ["_INBOX.a", "_INBOX_resource_server.a"])
async def test_answers_go_where_answers_belong(thief: Client, inbox: str) -> None:
    answers = await thief.subscribe(inbox)
    for subject, question in QUESTIONS:
        await thief.publish(subject, question, reply=inbox)
        await answers.next_msg(timeout=5)


async def test_no_answer_becomes_an_event(facts: Facts, nats_server: NatsServer, work: Work, thief: Client) -> None:
    await write(facts, 5)
    relay, _ = await start(facts, nats_server, work)
    await caught_up(relay, await facts.log("ledger"))
    looking = await nats_server.connect("ledger")
    before = await stream_info(looking)
    for name in ("registry.ApplicationEnabled", "identity.UserEnabled"):
        await ask(thief, f"stagedoor.events.{name}")
    after = await stream_info(looking)
    assert (after.state.last_seq, after.created) == (before.state.last_seq, before.created)
    await looking.close()
    await check_copy(facts, nats_server)


@pytest.mark.parametrize("place", ["stagedoor.denials.token", "stagedoor.denials.heartbeat"])
async def test_no_answer_becomes_a_denial_or_a_heartbeat(nats_server: NatsServer, thief: Client, place: str) -> None:
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    guard = await nats_server.connect("resource")
    await guard.subscribe("stagedoor.denials.>", cb=hear)
    await guard.flush()
    await ask(thief, place)
    await guard.flush()
    assert heard == []
    await guard.close()


@pytest.mark.parametrize("what", ["PURGE", "DELETE", "UPDATE"])
async def test_no_answer_is_an_order_to_the_stream(
    facts: Facts, nats_server: NatsServer, work: Work, thief: Client, what: str
) -> None:
    await write(facts, 5)
    relay, running = await start(facts, nats_server, work)
    await caught_up(relay, await facts.log("ledger"))
    await work.stop(running)
    looking = await nats_server.connect("ledger")
    before = await stream_info(looking)
    await ask(thief, f"$JS.API.STREAM.{what}.STAGEDOOR_EVENTS")
    after = await stream_info(looking)
    assert (after.state.messages, after.created, after.config) == (5, before.created, before.config)
    await looking.close()


@pytest.mark.parametrize("place", [PING, SNAPSHOT])
async def test_no_answer_is_a_question(nats_server: NatsServer, thief: Client, place: str) -> None:
    answers: list[Msg] = []

    async def hear(message: Msg) -> None:
        if not message.reply:
            answers.append(message)

    # Beside those who answer, so it hears what they do.
    looking = await nats_server.connect("ledger")
    await looking.subscribe("stagedoor.feed.>", cb=hear)
    await looking.flush()
    await ask(thief, place)
    await looking.flush()
    assert answers == []
    await looking.close()
