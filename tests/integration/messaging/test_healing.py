"""Followers heal themselves, whatever becomes of messages: seen from outside, by the rows that they write."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pytest

from services.identity import events as identity
from services.registry import events as registry
from shared.log.event import Patch, Put, Recorded, RowChange
from shared.log.log import Log
from shared.messaging import Follower
from shared.messaging.access import STREAM
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.nats_wire import Mischief, NatsWire, nats_wire
from tests.support.relaying import caught_up, start
from tests.support.work import Work, eventually

SOURCES = ("registry", "identity")
FACTS = 90
TALLY = """
    CREATE TABLE IF NOT EXISTS token_issuer.tally (
        stream text PRIMARY KEY, versions integer NOT NULL, last bigint NOT NULL);
    GRANT SELECT, INSERT, UPDATE, DELETE ON token_issuer.tally TO token_issuer
"""


@dataclass
class Wired:
    """Two followers of one view, each on a wire of its own."""

    facts: Facts
    log: Log
    mischief: Mischief
    followers: list[Follower]
    dice: random.Random

    async def write(self, number: int) -> None:
        """Facts of both sources, at their own pace."""
        for count in range(number):
            name = f"{self.dice.randrange(6)}"
            if self.dice.random() < 0.5:
                await self.facts.write(f"user-{name}", identity.PasswordSet(sub=name))
            else:
                event = registry.SecretAdded(client_id=name, secret_id=str(count), secret_digest="d")
                await self.facts.write(f"application-{name}", event)
            await asyncio.sleep(self.dice.uniform(0.0, 0.02))

    async def healed(self, seconds: float = 30.0) -> None:
        """Wait until the view is that of a rebuild: every fact of each stream, in order, up to the last."""
        async with self.facts.database.connection() as superuser:
            expected = {
                row["stream"]: (row["versions"], row["last"])
                for row in await superuser.fetch(
                    "SELECT stream, max(version) AS versions, max(position) AS last FROM log.events GROUP BY stream"
                )
            }

        async def complete() -> bool:
            rows = await self.log.pool.fetch("SELECT stream, versions, last FROM tally")
            return {row["stream"]: (row["versions"], row["last"]) for row in rows} == expected

        await eventually(complete, seconds)

        async def no_lag() -> bool:
            checks = [follower.readiness() for follower in self.followers]
            return all(check.ok and check.lag == 0 for check in checks)

        await eventually(no_lag, seconds)


@pytest.fixture(params=[1, 2])
async def wired(
    facts: Facts, nats_server: NatsServer, work: Work, request: pytest.FixtureRequest
) -> AsyncIterator[Wired]:
    await facts.execute(TALLY)
    dice = random.Random(request.param)
    mischief = Mischief()
    log = await facts.log("token_issuer")
    access = nats_server.access("token_issuer")
    port = urlsplit(access.url).port or 0

    def project(recorded: Recorded) -> Iterable[RowChange]:
        row = {"versions": recorded.version, "last": recorded.position}
        # Not idempotent on purpose: a second version without its first one changes no row.
        if recorded.version == 1:
            yield Put("token_issuer.tally", {"stream": recorded.stream, **row})
        else:
            yield Patch("token_issuer.tally", {"stream": recorded.stream, "versions": recorded.version - 1}, row)

    async with AsyncExitStack() as stack:
        wires: list[NatsWire] = [await stack.enter_async_context(nats_wire(port, dice, mischief)) for _ in range(2)]
        followers = [Follower(log, "tally", SOURCES, project, replace(access, url=wire.url)) for wire in wires]
        for following in followers:
            work.start(following.run())
        yield Wired(facts, log, mischief, followers, dice)


@pytest.mark.parametrize("fate", ["lost", "doubled", "delayed", "everything"])
async def test_messages_that_do_not_come_as_they_were_sent(
    wired: Wired, nats_server: NatsServer, work: Work, fate: str
) -> None:
    relay, _ = await start(wired.facts, nats_server, work)
    fates = ("lost", "doubled", "delayed") if fate == "everything" else (fate,)
    for one in fates:
        setattr(wired.mischief, one, 0.6 / len(fates))
    await wired.write(FACTS)
    await caught_up(relay, await wired.facts.log("ledger"))
    await wired.healed()
    assert wired.mischief.done > FACTS // 10, "something did happen to messages"


async def test_nats_restarted_and_the_stream_deleted_meanwhile(
    wired: Wired, nats_server: NatsServer, work: Work
) -> None:
    relay, _ = await start(wired.facts, nats_server, work)
    wired.mischief.lost = wired.mischief.delayed = wired.mischief.doubled = 0.15
    await wired.write(FACTS // 3)
    writing = work.start(wired.write(FACTS // 3))
    await nats_server.kill()
    await nats_server.start()
    await writing
    client = await nats_server.connect()
    await client.jetstream().delete_stream(STREAM)
    await client.close()
    await wired.write(FACTS // 3)
    wired.mischief.stop()
    await caught_up(relay, await wired.facts.log("ledger"))
    await wired.healed()


async def test_without_a_relay_nothing_is_heard_and_all_is_seen(wired: Wired) -> None:
    await wired.write(FACTS // 3)
    await wired.healed()
