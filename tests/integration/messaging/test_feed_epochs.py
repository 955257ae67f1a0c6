"""A log that lost a tail goes on under a new epoch, and guards tell the tokens of both branches apart."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra import migrate as stagedoor
from infra.local.postgres import Postgres
from services.registry import events as registry
from shared.feed import DenialFeed
from shared.log_feed import LogFeed
from shared.wake import Wake
from stagedoor.clock import since_boot
from stagedoor.denials import DenialView
from stagedoor.guard import Guard
from stagedoor.keys import StaticKeys
from stagedoor.nats import NatsFeed
from stagedoor.verdict import Allowed, Denied, Reason
from tests.support.back_up import RESTORABLE, restore, take_back_up
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.postgres import Databases
from tests.support.postgres import folder_for_servers as folder_for_servers  # noqa: PLC0414  (a fixture)
from tests.support.sdk_tokens import AUDIENCE, ISSUER, SigningKey, claims
from tests.support.work import Work, eventually


@pytest.fixture
async def own_server(folder_for_servers: Path) -> AsyncIterator[Postgres]:
    server = Postgres(folder_for_servers / "postgres", fsync=False, settings=RESTORABLE)
    await server.start()
    yield server
    await server.stop()


async def some_fact(facts: Facts, name: str) -> int:
    """One fact that denies nothing."""
    return (
        await facts.write(f"application-{name}", registry.SecretAdded(client_id=name, secret_id="s", secret_digest="d"))
    ).position


async def test_after_a_restored_back_up_tokens_of_the_lost_tail_are_refused_and_no_others(
    own_server: Postgres, folder_for_servers: Path, nats_server: NatsServer, work: Work
) -> None:
    key = SigningKey()
    async with Databases(own_server).fresh(stagedoor.tenants()) as database:
        database.spoiled = True
        facts = Facts(database)
        log, ledger = await facts.log("token_issuer"), await facts.log("ledger")
        wake, ledgers_wake = Wake(log), Wake(ledger)
        feed = DenialFeed(ledger, ledgers_wake, nats_server.access("ledger"), 0.1)
        access = nats_server.access("resource")
        over_nats = NatsFeed(
            access.url,
            user=access.user,
            password=access.password,
            inbox_prefix=access.inbox_prefix,
            heartbeat_seconds=0.1,
        )
        guards = [
            Guard(issuer=ISSUER, audience=AUDIENCE, feed=each, keys=StaticKeys([key.public]))
            for each in (LogFeed(log, wake), over_nats)
        ]
        for task in (wake.run(), ledgers_wake.run(), feed.publish(), feed.answer(), *(each.run() for each in guards)):
            work.start(task)

        kept = await some_fact(facts, "kept")
        await take_back_up(own_server, folder_for_servers / "back-up")
        lost = await some_fact(facts, "lost")
        before = [key.sign(claims(pos=position, epoch=1)) for position in (kept, lost)]
        for each in guards:
            await eventually(lambda each=each: each.view.position >= lost)  # type: ignore[misc]
            assert all(isinstance(each.check(token), Allowed) for token in before)

        await restore(own_server, folder_for_servers / "back-up")
        facts._versions.pop("application-lost")
        again = await some_fact(facts, "lost")
        assert again == lost
        epoch = (await log.head()).epoch
        after = key.sign(claims(pos=again, epoch=epoch, jti="after"))
        for each in guards:
            await eventually(lambda each=each: each.view.epoch == epoch and each.ready(), 30)  # type: ignore[misc]
            assert isinstance(each.check(before[0]), Allowed)
            refused = each.check(before[1])
            assert isinstance(refused, Denied)
            assert refused.reason is Reason.LOST_BRANCH
            assert isinstance(each.check(after), Allowed)


async def test_a_log_that_answers_with_less_than_it_had_proves_nothing(facts: Facts, work: Work) -> None:
    """As long as nobody has appended to a restored log its epoch is the old one."""
    log = await facts.log("token_issuer")
    await some_fact(facts, "a")
    view, following = DenialView(), LogFeed(log, Wake(log))
    work.start(following.run(view))
    await eventually(lambda: view.fresh(since_boot()))
    await facts.execute("UPDATE log.head SET position = 0")
    vouched_at = view.vouched_at
    await following.ping()
    assert (view.position, view.vouched_at) == (1, vouched_at)
    await facts.execute("UPDATE log.head SET position = 1")
    await following.ping()
    assert view.vouched_at > vouched_at
