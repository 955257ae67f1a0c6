"""A guard fed over gRPC whose process stands still: heartbeats that lay in its stream prove nothing about now."""

from services.registry import events as registry
from tests.integration.validation.serving import Serving
from tests.support.facts import Facts
from tests.support.paused_guard import disable_while_it_stands_still, guard_process
from tests.support.sdk_tokens import claims

_APP = "com.backstagehub/app"


async def test_what_was_revoked_while_it_stood_still_is_never_accepted_past_the_bound(
    validation: Serving, facts: Facts
) -> None:
    await facts.write("application-x", registry.SecretAdded(client_id="x", secret_id="s", secret_digest="d"))
    tls = validation.parties.resource("stagehands")
    shown = {"ca": tls.ca.decode(), "certificate": tls.certificate.decode(), "key": tls.key.decode()}
    async with guard_process(validation.key, {"grpc": validation.address, "shown": shown}) as guard:
        await disable_while_it_stands_still(facts, guard, _APP, validation.key.sign(claims(pos=1, client_id=_APP)))
