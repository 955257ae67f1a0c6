"""A resource server of another team asks for snapshots without a pause, so that no other guard can begin.

NATS does not tell who asks, and has no limits of its own for one user. A question is ten bytes, and was a reading of
all denials: 5,000 of them, said in a fifth of a second, kept everybody else waiting for minutes.
"""

import asyncio

import msgspec
import pytest

from services.registry.events import ApplicationUninstalled
from shared.feed import DenialFeed, Page
from shared.log.log import DenialSnapshot
from shared.messaging.access import SNAPSHOT
from shared.wake import Wake
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.nats import nats_server as nats_server  # noqa: PLC0414  (a fixture)
from tests.support.postgres import Database
from tests.support.work import Work, eventually

FIRST = b'{"page":0}'
QUESTIONS = 2000


async def test_many_questions_are_few_readings(
    database: Database, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = Facts(database)
    log = await facts.log("ledger")
    read, readings = log.active_denials, 0

    async def counted() -> DenialSnapshot:
        nonlocal readings
        readings += 1
        return await read()

    monkeypatch.setattr(log, "active_denials", counted)
    wake = Wake(log)
    async with Work() as work:
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
        answer = await guard.request(SNAPSHOT, FIRST, timeout=10)
        assert msgspec.json.decode(answer.data, type=Page).position >= denied.position
        async with asyncio.timeout(20):
            for _ in range(QUESTIONS):
                await answers.next_msg(timeout=10)
        assert readings < QUESTIONS / 20
        for client in (thief, guard):
            await client.close()
