"""Resource servers that ask for snapshots of the denials without a pause, so that no other guard can begin.

NATS does not tell who asks, and has no limits of its own for one user. A question is ten bytes, and was a reading of
all denials: 5,000 of them, said in a fifth of a second, kept everybody else waiting for minutes. Over gRPC a caller may
have a thousand streams, and each of them was a reading with a connection that others need to issue tokens.
"""

import asyncio

import msgspec
import pytest

from services.registry.events import ApplicationUninstalled
from shared.feed import DenialFeed, Page
from shared.log.log import DenialSnapshot, Log
from shared.messaging.access import SNAPSHOT
from shared.wake import Wake
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.validation.conftest import validation as validation  # noqa: PLC0414  (a fixture)
from tests.integration.validation.serving import Serving
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.nats import nats_server as nats_server  # noqa: PLC0414  (a fixture)
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture)
from tests.support.work import Work, eventually

FIRST = b'{"page":0}'
QUESTIONS = 2000
STREAMS = 400


class Readings:
    """How often all denials of a log were read."""

    def __init__(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        self._read = log.active_denials
        monkeypatch.setattr(log, "active_denials", self._counted)

    async def _counted(self) -> DenialSnapshot:
        self.number += 1
        await asyncio.sleep(0.5)  # as if there were many
        return await self._read()


async def test_many_questions_are_few_readings(
    facts: Facts, work: Work, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await facts.log("ledger")
    wake, readings = Wake(log), Readings(log, monkeypatch)
    work.start(wake.run())
    feed = DenialFeed(log, wake, nats_server.access("ledger"), 3600.0)
    work.start(feed.answer())
    await eventually(lambda: feed.readiness().ok)
    thief, guard = await nats_server.connect("resource_server"), await nats_server.connect("resource")
    answers = await thief.subscribe("_INBOX.a")
    for _ in range(QUESTIONS):
        await thief.publish(SNAPSHOT, FIRST, reply="_INBOX.a")
    await thief.flush()
    # What was denied after the flood, and before the question, is in the answer to it.
    denied = await facts.write("application-a", ApplicationUninstalled(client_id="a"))
    answer = await guard.request(SNAPSHOT, FIRST, timeout=20)
    assert msgspec.json.decode(answer.data, type=Page).position >= denied.position
    async with asyncio.timeout(20):
        for _ in range(QUESTIONS):
            await answers.next_msg(timeout=10)
    assert readings.number < QUESTIONS / 20
    for client in (thief, guard):
        await client.close()


async def test_many_streams_are_few_readings(validation: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = Readings(await validation.facts.log("token_issuer"), monkeypatch)
    async with validation.connected() as stub:

        async def begin() -> None:
            async for message in stub.WatchDenials(pb.WatchDenialsRequest(), timeout=30):
                assert message.WhichOneof("message") == "snapshot"
                return

        async with asyncio.timeout(30):
            await asyncio.gather(*(begin() for _ in range(STREAMS)))
    assert readings.number < STREAMS / 4
