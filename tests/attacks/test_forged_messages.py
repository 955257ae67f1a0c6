"""A stolen ledger may publish what it likes on NATS: no follower takes a fact from there, or is kept from the facts."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.identity import events as identity
from services.identity.events import Role, UserKind
from services.registry import events as registry
from services.token_issuer.subscriptions import PROJECTION, SOURCES, project
from shared.log.event import Event, Personal
from shared.log.log import Log
from shared.log.row import EventRow
from shared.messaging import Follower, follower
from shared.messaging.message import encode
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.nats import nats_server as nats_server  # noqa: PLC0414  (a fixture)
from tests.support.postgres import Database
from tests.support.work import Work, eventually

SUB = "freddie"


def forged(event: Event, position: int, stream: str = f"user-{SUB}") -> EventRow:
    """What the log does not have."""
    return EventRow(
        epoch=1,
        position=position,
        stream=stream,
        version=2,
        type=event.stored_as,
        data=event.to_json(bytes(32)),
        data_digest=b"",
        salt=b"",
        actor="user:thief",
        command_id=UUID(int=9),
        correlation_id="c" * 22,
        causation_id=None,
        recorded_at=datetime.now(UTC),
        leaf_hash=b"",
    )


class Followed:
    """The issuer's view of the others' facts, fed after its first look by what messages wake it for alone."""

    def __init__(self, facts: Facts, log: Log, ledger: Client, following: Follower) -> None:
        self.facts = facts
        self.log = log
        self.ledger = ledger
        self.following = following

    async def publish(self, row: EventRow, previous: int) -> None:
        """With the ledger's credentials, as the relay would."""
        message = encode(row, previous)
        headers = {name: value for name, value in message.headers.items() if not name.startswith("Nats-")}
        await self.ledger.publish(message.subject, message.body, headers=headers)

    async def roles(self) -> list[str] | None:
        """Of the user, as the issuer has them."""
        found: list[str] | None = await self.log.pool.fetchval("SELECT roles FROM users WHERE sub = $1", SUB)
        return found

    async def honest(self) -> int:
        """A true fact, that the relay tells of; answers where the view has to be then."""
        name = f"com.{datetime.now(UTC).timestamp()}"
        appended = await self.facts.write(
            f"application-{name}", registry.SecretAdded(client_id=name, secret_id="one", secret_digest="d")
        )
        (row,) = await (await self.facts.log("ledger")).read_rows(appended.position - 1, limit=1)
        await self.publish(row, 0)
        await self.ledger.flush()
        return appended.position

    async def at(self, source: str, position: int) -> None:
        """Return when the view has come there."""

        async def there() -> bool:
            return (await self.log.checkpoints(PROJECTION)).get(source, 0) >= position

        await eventually(there)

    def looks(self) -> float:
        """How often messages made it read the log."""
        labels = [{"projection": PROJECTION, "source": source} for source in SOURCES]
        return sum(REGISTRY.get_sample_value("stagedoor_follower_looks_total", one) or 0.0 for one in labels)


@pytest.fixture
async def followed(
    database: Database, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Followed]:
    monkeypatch.setattr(follower, "POLL_SECONDS", 3600.0)
    facts = Facts(database)
    registered = identity.UserRegistered(
        sub=SUB, user_name=Personal("freddie"), kind=UserKind.INTERNAL, profile=identity.Profile(), roles=()
    )
    await facts.write(f"user-{SUB}", registered)
    log = await facts.log("token_issuer")
    following = Follower(log, PROJECTION, SOURCES, project, nats_server.access("token_issuer"))
    ledger = await nats_server.connect("ledger")
    async with Work() as work:
        work.start(following.run())
        await eventually(lambda: following.readiness().detail == "over NATS")
        made = Followed(facts, log, ledger, following)
        await made.at("identity", 1)
        yield made
    await ledger.close()


async def test_a_forged_fact_that_follows_on_plants_nothing(followed: Followed) -> None:
    promoted = identity.RolesChanged(sub=SUB, roles=(Role.ADMINISTRATOR,), removed=())
    await followed.publish(forged(promoted, 2), previous=1)
    position = await followed.honest()
    await followed.at("registry", position)
    assert await followed.roles() == []
    assert (await followed.log.checkpoints(PROJECTION))["identity"] == 1


async def test_a_forged_fact_in_the_place_of_a_true_one_makes_the_true_one_known(followed: Followed) -> None:
    await followed.facts.write(f"user-{SUB}", identity.UserDisabled(sub=SUB, reason="gone"))
    promoted = identity.RolesChanged(sub=SUB, roles=(Role.ADMINISTRATOR,), removed=())
    await followed.publish(forged(promoted, 2), previous=1)
    await followed.at("identity", 2)
    assert await followed.roles() == []
    assert await followed.log.pool.fetchval("SELECT enabled FROM users WHERE sub = $1", SUB) is False


@pytest.mark.parametrize("position", [3, 1_000_000_000, 2**62])
async def test_a_position_far_beyond_the_head_moves_no_checkpoint(followed: Followed, position: int) -> None:
    enabled = registry.ApplicationEnabled(client_id="com.thief/app")
    await followed.publish(forged(enabled, position, "application-com.thief/app"), previous=0)
    await followed.publish(forged(identity.UserEnabled(sub=SUB), position), previous=1)
    honest = await followed.honest()
    await followed.at("registry", honest)
    assert await followed.log.checkpoints(PROJECTION) == {"identity": 1, "registry": honest}
    await followed.following.reach(honest)


async def test_a_flood_costs_few_reads_and_hides_nothing(followed: Followed) -> None:
    before = followed.looks()
    row = forged(identity.UserEnabled(sub=SUB), 2**60)
    lies = 0

    async def lie() -> None:
        nonlocal lies
        while True:
            for _ in range(100):
                await followed.publish(row, previous=1)
            lies += 100
            await asyncio.sleep(0.001)

    async with Work() as work:
        lying = work.start(lie())
        await eventually(lambda: lies >= 5000)
        assert followed.looks() - before < 50
        honest = await followed.honest()
        await followed.at("registry", honest)
        disabled = await followed.facts.write(f"user-{SUB}", identity.UserDisabled(sub=SUB, reason="gone"))
        await followed.at("identity", disabled.position)
        await work.stop(lying)
    assert await followed.roles() == []


async def test_a_message_that_is_none_does_no_harm(followed: Followed) -> None:
    for position in ("", "-1", "x", "9" * 400):
        headers = {"stagedoor-position": position}
        await followed.ledger.publish("stagedoor.events.identity.X", b"\xff" * 1000, headers=headers)
    await followed.ledger.publish("stagedoor.events.registry.X", b"")
    honest = await followed.honest()
    await followed.at("registry", honest)
    assert await followed.roles() == []
