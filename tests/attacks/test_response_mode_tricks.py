"""Ways of answering that would carry the answer elsewhere (RFC 9700 sections 4.1 and 4.11)."""

import pytest

from services.registry.events import ApplicationType
from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Refused
from tests.support.issuing import PUBLIC, SPA, Stage, query

MODES = ["query", "fragment", "form_post"]
NATIVE = "com.example.roadie:/back"


async def test_no_mode_leads_to_an_address_that_is_not_registered(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for mode in MODES:
        for uri in ("https://mallory.example", f"{hub.redirect_uri}#", f"{hub.redirect_uri}#code=x", "javascript:0"):
            assert isinstance(await stage.begin(hub, redirect_uri=uri, response_mode=mode), Refused), (mode, uri)
            silent = await stage.begin(hub, redirect_uri=uri, response_mode=mode, prompt="none")
            assert isinstance(silent, Refused), (mode, uri)


@pytest.mark.parametrize("state", ["a#b", "#access_token=x", "a&code=x", "a&iss=https://mallory.example", "%23"])
async def test_a_state_adds_nothing_to_an_answer(stage: Stage, state: str) -> None:
    hub = await stage.register(resources=True)
    for mode in MODES:
        outcome = await stage.begin(hub, response_mode=mode, state=state, response_type="token")
        assert isinstance(outcome, Redirect)
        if mode == "form_post":
            assert outcome.uri == hub.redirect_uri
            told = dict(outcome.form)
        else:
            separator = "#" if mode == "fragment" else "?"
            assert outcome.uri.startswith(hub.redirect_uri + separator)
            assert outcome.uri.count("#") == (1 if mode == "fragment" else 0)
            told = query(outcome.uri.replace("#", "?", 1) if mode == "fragment" else outcome.uri)
        assert told.keys() == {"error", "error_description", "state", "iss"}
        assert (told["state"], told["iss"]) == (state, stage.issuer.policy.issuer)


async def test_nothing_is_posted_to_the_scheme_of_a_native_application(stage: Stage) -> None:
    settings = PUBLIC.model_copy(update={"type": ApplicationType.NATIVE, "redirect_uris": (NATIVE,)})
    native = await stage.register(settings, SPA, resources=True)
    outcome = await stage.begin(native, redirect_uri=NATIVE, response_mode="form_post", scope="read")
    assert isinstance(outcome, Redirect)
    assert outcome.form == ()
    assert query(outcome.uri)["error"] == "invalid_request"


async def test_modes_that_are_not_there_and_more_than_one(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for mode in ("web_message", "jwt", "form_post.jwt", "FRAGMENT", "query fragment"):
        outcome = await stage.begin(hub, response_mode=mode)
        assert isinstance(outcome, Redirect)
        assert query(outcome.uri)["error"] == "invalid_request"
    twice = await stage.begin(hub, ("response_mode", "fragment"), response_mode="form_post")
    assert isinstance(twice, Redirect)
    assert query(twice.uri)["error"] == "invalid_request"
