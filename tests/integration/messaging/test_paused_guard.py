"""A guard whose process stands still does not take what lay in its buffers for news."""

from services.registry import events as registry
from shared.feed import DenialFeed
from shared.wake import Wake
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.paused_guard import disable_while_it_stands_still, guard_process
from tests.support.sdk_tokens import SigningKey, claims
from tests.support.work import Work, eventually

_KEY = SigningKey()
_APP = "com.backstagehub/app"


async def test_what_was_revoked_while_it_stood_still_is_never_accepted_past_the_bound(
    facts: Facts, nats_server: NatsServer, work: Work
) -> None:
    log = await facts.log("ledger")
    await facts.write("application-x", registry.SecretAdded(client_id="x", secret_id="s", secret_digest="d"))
    wake = Wake(log)
    feed = DenialFeed(log, wake, nats_server.access("ledger"), 0.1)
    for task in (wake.run(), feed.publish(), feed.answer()):
        work.start(task)
    await eventually(lambda: feed.readiness().ok)
    access = nats_server.access("resource")
    nats = {
        "url": access.url,
        "user": access.user,
        "password": access.password,
        "inbox_prefix": access.inbox_prefix.decode(),
    }
    async with guard_process(_KEY, {"nats": nats}) as guard:
        await disable_while_it_stands_still(facts, guard, _APP, _KEY.sign(claims(pos=1, client_id=_APP)))
