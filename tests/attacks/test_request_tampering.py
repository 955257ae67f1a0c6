"""Authorization requests that are changed on their way, or change what comes back."""

import pytest

from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Proceed
from tests.support.issuing import Stage, query


async def test_a_state_cannot_add_parameters_or_headers(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    state = "x&code=stolen&iss=https://mallory.example#"
    sent = await stage.issue(await stage.begin(hub, state=state), person, position)
    assert query(sent.redirect.uri)["state"] == state
    assert "#" not in sent.redirect.uri
    outcome = await stage.begin(hub, state="x\r\nLocation: https://mallory.example")
    assert isinstance(outcome, Redirect)
    assert "\r" not in outcome.uri
    assert "state" not in query(outcome.uri)


async def test_a_sealed_request_cannot_be_changed_or_made(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    outcome = await stage.begin(hub)
    assert isinstance(outcome, Proceed)
    for sealed in (outcome.sealed[:-8] + "AAAAAAA=", outcome.sealed[4:], "", "x" * 40_000):
        object.__setattr__(outcome, "sealed", sealed)
        with pytest.raises(Exception, match="not one that this server has begun"):
            await stage.issue(outcome, person, position)
