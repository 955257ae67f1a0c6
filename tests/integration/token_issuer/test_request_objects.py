"""Request objects (RFC 9101, OpenID Connect Core section 6.1), from the signature to the tokens."""

from typing import Any

import pytest

from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Proceed, Refused
from tests.support.assertions import ClientKey, signing_client
from tests.support.issuing import API, Stage, error, query
from tests.support.pushing import begin_pushed
from tests.support.request_objects import asking, begin_signed, request_of


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA"])
async def test_a_signed_request_leads_to_tokens(stage: Stage, algorithm: str) -> None:
    client = await signing_client(stage, ClientKey(algorithm))
    outcome = await begin_signed(stage, client, request_of(stage, client))
    assert isinstance(outcome, Proceed)
    person, position = await stage.sign_in(await stage.user())
    sent = query((await stage.issue(outcome, person, position)).redirect.uri)
    assert (sent["state"], sent["iss"]) == ("xyz", stage.issuer.policy.issuer)
    answer = await stage.redeem(client, sent["code"])
    assert set(answer.json()["scope"].split()) == {"openid", "read", "offline_access"}


@pytest.mark.parametrize("typ", ["JWT", "jwt", "OAuth-AuthZ-Req+JWT", None])
async def test_how_it_may_be_called(stage: Stage, typ: str | None) -> None:
    client = await signing_client(stage)
    request = client.key.sign(asking(stage, client), typ=typ)
    assert isinstance(await begin_signed(stage, client, request), Proceed)


async def test_parameters_are_texts_and_numbers_and_some_are_more(stage: Stage) -> None:
    client = await signing_client(stage)
    wanted = {"userinfo": {"given_name": None}}
    more: dict[str, Any] = {"max_age": 60, "claims": wanted, "resource": [API], "prompt": "login", "login_hint": "fred"}
    outcome = await begin_signed(stage, client, request_of(stage, client, **more))
    assert isinstance(outcome, Proceed)
    assert (outcome.request.max_age, outcome.request.prompt, outcome.login_hint) == (60, ("login",), "fred")
    assert API in outcome.request.audiences
    assert "profile" in outcome.request.scopes or "given_name" in str(outcome.request.scopes)


async def test_what_is_wrong_with_what_it_asks_goes_back_to_the_application(stage: Stage) -> None:
    client = await signing_client(stage)
    for changes, code in (
        ({"scope": "openid everything"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"nonce": "x" * 600}, "invalid_request"),
    ):
        outcome = await begin_signed(stage, client, request_of(stage, client, **changes))
        assert isinstance(outcome, Redirect), changes
        assert (query(outcome.uri)["error"], query(outcome.uri)["state"]) == (code, "xyz")


async def test_an_application_without_keys_has_none(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    outcome = await stage.begin(hub, request="e30.e30.e30")
    assert isinstance(outcome, Redirect)
    assert query(outcome.uri)["error"] == "request_not_supported"


async def test_an_application_may_have_to_sign(stage: Stage) -> None:
    client = await signing_client(stage, require_signed_request_object=True)
    outcome = await stage.begin(client)
    assert isinstance(outcome, Redirect)
    assert query(outcome.uri)["error"] == "invalid_request"
    assert isinstance(await begin_signed(stage, client, request_of(stage, client)), Proceed)
    plain = await stage.http.post("/id/connect/par", data=client.form(**asking(stage, client)))
    assert (plain.status_code, error(plain)) == (400, "invalid_request")


async def test_it_may_be_pushed(stage: Stage) -> None:
    client = await signing_client(stage, require_signed_request_object=True)
    form = client.form(request=request_of(stage, client, max_age=60), scope="openid", state="not this one")
    answer = await stage.http.post("/id/connect/par", data=form)
    assert answer.status_code == 201, answer.text
    outcome = await begin_pushed(stage, client, answer.json()["request_uri"])
    assert isinstance(outcome, Proceed)
    assert (outcome.request.state, outcome.request.max_age) == ("xyz", 60)
    assert "read" in outcome.request.scopes
    wrong = await stage.http.post("/id/connect/par", data=client.form(request=request_of(stage, client, aud="x")))
    assert (wrong.status_code, error(wrong)) == (400, "invalid_request_object")


async def test_it_is_too_large(stage: Stage) -> None:
    client = await signing_client(stage)
    outcome = await begin_signed(stage, client, request_of(stage, client, more="x" * 20_000))
    assert isinstance(outcome, Refused | Redirect)
    many: dict[str, Any] = {f"p{number}": "x" for number in range(70)}
    outcome = await begin_signed(stage, client, request_of(stage, client, **many))
    assert isinstance(outcome, Refused)
    assert outcome.error == "invalid_request_object"
