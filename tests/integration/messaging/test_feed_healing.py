"""Whatever the wire does to denials and heartbeats, the SDK's view vouches for nothing that it lacks, and heals."""

import random
from urllib.parse import urlsplit

import pytest

from services.registry import events as registry
from shared.feed import DenialFeed
from shared.wake import Wake
from stagedoor.clock import since_boot
from stagedoor.denials import DenialView
from stagedoor.nats import NatsFeed
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.nats_wire import Mischief, nats_wire
from tests.support.work import Work, eventually

_DENIALS = 60


@pytest.mark.parametrize("fate", ["lost", "doubled", "delayed", "everything"])
async def test_denials_that_do_not_come_as_they_were_sent(
    facts: Facts, nats_server: NatsServer, work: Work, fate: str
) -> None:
    log, mischief = await facts.log("ledger"), Mischief()
    await facts.write(
        "application-x", registry.SecretAdded(client_id="x", secret_id="s", secret_digest="d")
    )  # an epoch
    wake = Wake(log)
    feed = DenialFeed(log, wake, nats_server.access("ledger"), 0.05)
    for each in (wake.run(), feed.answer(), feed.publish()):
        work.start(each)
    access = nats_server.access("resource")
    async with nats_wire(urlsplit(access.url).port or 0, random.Random(7), mischief) as wire:
        view = DenialView()
        following = NatsFeed(
            wire.url,
            user=access.user,
            password=access.password,
            inbox_prefix=access.inbox_prefix.decode(),
            heartbeat_seconds=0.05,
        )
        task = work.start(following.run(view))
        await eventually(lambda: view.loaded)
        fates = ("lost", "doubled", "delayed") if fate == "everything" else (fate,)
        for one in fates:
            setattr(mischief, one, 0.6 / len(fates))
        written: list[int] = []
        for number in range(_DENIALS):
            event = registry.ApplicationUninstalled(client_id=f"a{number}")
            written.append((await facts.write(f"application-a{number}", event)).position)
            assert len(view) >= sum(position <= view.position for position in written), "it vouches for what it lacks"
        await eventually(lambda: (view.number, view.position) == (_DENIALS, written[-1]), 30)
        assert len(view) == _DENIALS
        await eventually(lambda: not view.incomplete and view.fresh(since_boot()), 30)
        assert mischief.done > _DENIALS // 10, "something did happen to messages"
        await work.stop(task)
