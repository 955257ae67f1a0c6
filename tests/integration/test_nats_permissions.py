"""Who may say and hear what over NATS, on a real server with the permissions of `infra/nats.conf`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import RawStreamMsg, StreamConfig

from infra.local import nats as local
from infra.local.home import Home
from infra.local.ports import Ports
from infra.local.process import until
from infra.migrate import EVENTS, READS
from tests.support.permissions import RefusedError, said, settled
from tests.support.ports import free_ports

Connect = Callable[[str], Awaitable[Client]]

SUBJECT = "stagedoor.events.registry.ApplicationRegistered"


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Connect]:
    """Connections as one of the users, to a server with the stream in place."""
    home, ports = Home(tmp_path), free_ports()
    home.take()
    process = local.process(home, ports)
    await process.start()
    clients: list[Client] = []

    async def connected(user: str) -> Client:
        client = await _connect(home, ports, user)
        clients.append(client)
        return client

    try:
        assert await until(lambda: local.ready(ports), 10)
        ledger = await connected("ledger")
        await ledger.jetstream().add_stream(StreamConfig(name="STAGEDOOR_EVENTS", subjects=["stagedoor.events.>"]))
        yield connected
    finally:
        for client in clients:
            await client.close()
        await process.stop()
        home.release()


async def _connect(home: Home, ports: Ports, user: str) -> Client:
    async def ignored(_: Exception) -> None:
        """Refusals are read from `last_error`."""

    return await nats.connect(
        f"nats://127.0.0.1:{ports.nats}",
        user=user,
        password=local.password_file(home, user).read_text().strip(),
        inbox_prefix=f"_INBOX_{user}".encode(),
        allow_reconnect=False,
        error_cb=ignored,
    )


async def heard(client: Client, subject: str, say: Callable[[], Awaitable[object]]) -> bytes:
    """What a subscriber of `subject` hears when `say` is called."""
    subscription = await client.subscribe(subject)
    await said(client)
    await say()
    return (await subscription.next_msg(timeout=5)).data


async def test_the_ledger_publishes_events_and_reads_the_stream(connect: Connect) -> None:
    stream = (await connect("ledger")).jetstream()
    acknowledged = await stream.publish(SUBJECT, b"{}")
    stored: RawStreamMsg = await stream.get_msg("STAGEDOOR_EVENTS", seq=acknowledged.seq)
    assert stored.data == b"{}"


@pytest.mark.parametrize("user", [user for user in local.USERS if user != "ledger"])
@pytest.mark.parametrize("subject", [SUBJECT, "stagedoor.denials.token", "stagedoor.denials.heartbeat"])
async def test_nobody_else_publishes_events_or_denials(connect: Connect, user: str, subject: str) -> None:
    client = await connect(user)
    await client.publish(subject, b"{}")
    with pytest.raises(RefusedError, match=r"(?i)permissions violation for publish"):
        await settled(client)


@pytest.mark.parametrize("user", [user for user in local.USERS if user != "ledger"])
async def test_everybody_hears_denials(connect: Connect, user: str) -> None:
    ledger, client = await connect("ledger"), await connect(user)

    async def deny() -> None:
        await ledger.publish("stagedoor.denials.token", b"a denial")
        await said(ledger)

    assert await heard(client, "stagedoor.denials.>", deny) == b"a denial"


@pytest.mark.parametrize("user", [user for user in local.USERS if user != "ledger"])
async def test_everybody_is_answered_a_ping(connect: Connect, user: str) -> None:
    ledger, client = await connect("ledger"), await connect(user)
    asked = await ledger.subscribe("stagedoor.feed.ping", queue="ledger")
    await said(ledger)
    answer = asyncio.create_task(client.request("stagedoor.feed.ping", b"", timeout=5))
    await (await asked.next_msg(timeout=5)).respond(b"7")
    assert (await answer).data == b"7"


@pytest.mark.parametrize("user", local.USERS)
@pytest.mark.parametrize("subject", ["stagedoor.events.>", ">", "$JS.>", "_INBOX_somebody.>"])
async def test_nobody_subscribes_to_all_events_or_to_what_others_are_answered(
    connect: Connect, user: str, subject: str
) -> None:
    client = await connect(user)
    await client.subscribe(subject)
    with pytest.raises(RefusedError, match=r"(?i)permissions violation for subscription"):
        await settled(client)


@pytest.mark.parametrize(
    ("user", "source"), [(user, source) for user in READS if user != "ledger" for source in READS[user]]
)
async def test_a_service_hears_the_sources_that_it_reads(connect: Connect, user: str, source: str) -> None:
    ledger, client = await connect("ledger"), await connect(user)

    async def tell() -> None:
        await ledger.jetstream().publish(f"stagedoor.events.{source}.Something", b"a fact")

    assert await heard(client, f"stagedoor.events.{source}.>", tell) == b"a fact"
    await settled(client)


@pytest.mark.parametrize(
    ("user", "source"),
    [
        (user, source)
        for user in local.USERS
        for source in EVENTS
        if source not in READS.get(user, ()) or user == "ledger"
    ],
)
async def test_no_service_hears_other_facts(connect: Connect, user: str, source: str) -> None:
    client = await connect(user)
    await client.subscribe(f"stagedoor.events.{source}.>")
    with pytest.raises(RefusedError, match=r"(?i)permissions violation for subscription"):
        await settled(client)


@pytest.mark.parametrize("user", [user for user in local.USERS if user != "ledger"])
@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.STREAM.PURGE.STAGEDOOR_EVENTS",
        "$JS.API.STREAM.DELETE.STAGEDOOR_EVENTS",
        "$JS.API.STREAM.UPDATE.STAGEDOOR_EVENTS",
        "$JS.API.STREAM.MSG.GET.STAGEDOOR_EVENTS",
        "$JS.API.STREAM.MSG.DELETE.STAGEDOOR_EVENTS",
        "$JS.API.CONSUMER.CREATE.STAGEDOOR_EVENTS",
        "$JS.API.CONSUMER.CREATE.STAGEDOOR_EVENTS.any.stagedoor.events.registry.>",
        "$JS.API.CONSUMER.MSG.NEXT.STAGEDOOR_EVENTS.any",
        "$JS.API.CONSUMER.LIST.STAGEDOOR_EVENTS",
        "$JS.API.CONSUMER.NAMES.STAGEDOOR_EVENTS",
        "$JS.API.CONSUMER.DURABLE.CREATE.STAGEDOOR_EVENTS.any",
        f"$JS.API.DIRECT.GET.STAGEDOOR_EVENTS.{SUBJECT}",
    ],
)
async def test_nobody_else_has_a_say_over_the_stream_or_reads_it_directly(
    connect: Connect, user: str, subject: str
) -> None:
    client = await connect(user)
    await client.publish(subject, b"{}")
    with pytest.raises(RefusedError, match=r"(?i)permissions violation for publish"):
        await settled(client)


async def test_a_wrong_password_is_refused(connect: Connect) -> None:
    ledger = await connect("ledger")
    url = ledger.connected_url
    assert url is not None
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization violation"):
        await nats.connect(url.geturl(), user="ledger", password="wrong", allow_reconnect=False)
