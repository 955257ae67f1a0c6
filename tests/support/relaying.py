"""Relays of tests, beside the test or in processes of their own: facts to relay, and a look at what came of it."""

import asyncio
import sys

import msgspec
from nats.js.api import RawStreamMsg

from infra.local.services import python_environment
from services.identity import events as identity
from services.registry import events as registry
from shared.log.log import Log
from shared.log.row import EventRow
from shared.messaging.message import message_id
from shared.relay import Relay
from shared.wake import Wake
from tests.support.facts import Facts
from tests.support.nats import NatsServer, stream_info, stream_messages
from tests.support.work import Work, eventually


async def write(facts: Facts, number: int, name: str = "one") -> None:
    """Facts of two sources, some of which deny something."""
    for count in range(number):
        if count % 3 == 0:
            await facts.write(f"user-{name}", identity.PasswordSet(sub=name))
        else:
            await facts.write(
                f"application-{name}", registry.SecretAdded(client_id=name, secret_id=str(count), secret_digest="d")
            )


async def start(facts: Facts, server: NatsServer, work: Work) -> tuple[Relay, "asyncio.Task[None]"]:
    log = await facts.log("ledger")
    wake = Wake(log)
    relay = Relay(log, wake, server.access("ledger"))
    work.start(wake.run())
    return relay, work.start(relay.run())


async def caught_up(relay: Relay, log: Log) -> None:
    async def reached() -> bool:
        return relay.position == (await log.head()).position

    await eventually(reached, 30)


async def rows(facts: Facts) -> list[EventRow]:
    return await (await facts.log("ledger")).read_rows(0, limit=100_000)


async def check_copy(facts: Facts, server: NatsServer) -> list[RawStreamMsg]:
    """The stream has every event once, in order, each at the sequence that is its position."""
    client = await server.connect()
    messages = await stream_messages(client)
    info = await stream_info(client)
    await client.close()
    written = await rows(facts)
    assert info.state.messages == len(written)
    last: dict[str, int] = {}
    for message, row in zip(messages, written, strict=True):
        check_message(message, row, last.get(row.type.partition(".")[0], 0))
        last[row.type.partition(".")[0]] = row.position
    return messages


def check_message(message: RawStreamMsg, row: EventRow, previous: int) -> None:
    headers = message.headers or {}
    assert message.seq == row.position
    assert message.subject == f"stagedoor.events.{row.type}"
    assert headers["Nats-Msg-Id"] == headers["ce-id"] == message_id(row)
    assert headers["stagedoor-position"] == str(row.position)
    assert headers["stagedoor-previous"] == str(previous)
    assert headers["stagedoor-epoch"] == str(row.epoch)
    assert msgspec.json.decode(message.data or b"")["command_id"] == str(row.command_id)


async def relay_process(facts: Facts, server: NatsServer, *until: str) -> asyncio.subprocess.Process:
    """A relay in a process of its own; `until`: the step and the signal that it sends itself there."""
    access = server.access("ledger")
    arguments = (facts.database.dsn("ledger"), access.url, *until)
    environment = {**python_environment(), "NATS_PASSWORD": access.password}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.relay_process", *arguments, env=environment
    )
