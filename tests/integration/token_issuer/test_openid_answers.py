"""What an application that speaks OpenID Connect gets for what it asks."""

import json
from typing import Any

import jwt
import pytest

from services.token_issuer.acr import MFA, PASSWORD
from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Proceed
from services.token_issuer.authorization.issue import refuse
from services.token_issuer.claims import CLAIMS
from tests.support.assertions import signing_client
from tests.support.issuing import CALLBACK, ISSUER, USERINFO, Stage, query
from tests.support.request_objects import begin_signed, request_of

NAME = json.dumps({"userinfo": {"name": {"essential": True}}, "id_token": {"email": None, "auth_time": None}})


def read(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


async def test_answers_travel_as_was_asked(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    posted = (await stage.issue(await stage.begin(hub, response_mode="form_post"), person, position)).redirect
    assert posted.uri == CALLBACK
    form = dict(posted.form)
    assert (form["state"], form["iss"]) == ("xyz", ISSUER)
    assert (await stage.redeem(hub, form["code"])).status_code == 200
    outcome = await stage.begin(hub, response_mode="fragment")
    sent = (await stage.issue(outcome, person, position)).redirect
    assert query(sent.uri.replace("#", "?")).keys() == {"code", "state", "iss"}
    assert isinstance(outcome, Proceed)
    no = refuse(stage.issuer, outcome.sealed, "access_denied")
    assert query(no.uri.replace("#", "?"))["error"] == "access_denied"
    nobody = await stage.issue(await stage.begin(hub, response_mode="form_post"), person, position, sub="nobody")
    assert dict(nobody.redirect.form)["error"] == "access_denied"


async def test_a_claim_is_asked_for_agreed_to_and_said_to_userinfo(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    outcome = await stage.begin(hub, scope="openid", claims=NAME)
    assert isinstance(outcome, Proceed)
    assert outcome.scopes[1:] == (("claim:name", CLAIMS["name"]),)
    body = await stage.tokens(hub, await stage.user(), scope="openid", claims=NAME)
    assert body["scope"] == "openid claim:name"
    assert read(body["access_token"])["aud"] == [USERINFO] or read(body["access_token"])["aud"] == USERINFO
    said = read(body["id_token"])
    assert said["acr"] == PASSWORD
    assert not set(CLAIMS) & said.keys()


async def test_what_the_person_did_not_agree_to_is_not_said(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    outcome = await stage.begin(hub, scope="openid", claims=NAME)
    assert isinstance(outcome, Proceed)
    sent = await stage.issue(outcome, person, position)
    assert "code" in query(sent.redirect.uri)
    changed = await stage.begin(hub, scope="openid claim:name claim:shoe_size")
    assert isinstance(changed, Redirect)
    assert query(changed.uri)["error"] == "invalid_scope"


async def test_a_sign_in_that_is_not_worth_enough(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    essential = json.dumps({"id_token": {"acr": {"essential": True, "values": [PASSWORD]}}})
    outcome = await stage.begin(hub, claims=essential)
    assert "code" in query((await stage.issue(outcome, person, position)).redirect.uri)
    weak = await stage.issue(outcome, person, position, amr=("rba",))
    assert query(weak.redirect.uri)["error"] == "unmet_authentication_requirements"


BY_TWO = ("pwd", "otp", "mfa")


def essential(*values: str) -> str:
    """A `claims` parameter that demands one of these."""
    return json.dumps({"id_token": {"acr": {"essential": True, "values": values}}})


@pytest.mark.parametrize(
    ("parameters", "wished", "demanded"),
    [
        ({}, False, False),
        ({"acr_values": MFA}, True, False),
        ({"acr_values": f"phr {MFA} {PASSWORD}"}, True, False),
        ({"acr_values": f"{PASSWORD} {MFA}"}, False, False),
        ({"acr_values": "phr"}, False, False),
        ({"claims": essential(MFA)}, False, True),
        ({"claims": essential("phr", MFA)}, False, True),
        ({"claims": essential(MFA, PASSWORD)}, False, False),
        ({"claims": json.dumps({"id_token": {"acr": {"value": MFA}}})}, False, False),
    ],
)
async def test_what_the_pages_are_told_of_a_second_factor(
    stage: Stage, parameters: dict[str, str], wished: bool, demanded: bool
) -> None:
    outcome = await stage.begin(await stage.register(resources=True), **parameters)
    assert isinstance(outcome, Proceed)
    assert (outcome.second_factor_wished, outcome.second_factor_demanded) == (wished, demanded)


@pytest.mark.parametrize(
    ("parameters", "amr", "told"),
    [
        ({}, ("pwd",), PASSWORD),
        ({}, BY_TWO, MFA),
        ({"acr_values": MFA}, ("pwd",), PASSWORD),  # a wish (OpenID Connect Core section 3.1.2.1)
        ({"claims": essential(MFA)}, BY_TWO, MFA),
        ({"claims": essential(MFA)}, ("pwd", "mfa"), MFA),
        ({"claims": essential(MFA)}, ("pwd",), None),
        ({"claims": essential(MFA)}, ("pwd", "otp"), None),
        ({"claims": essential(MFA, PASSWORD)}, ("pwd",), PASSWORD),
        ({"claims": essential(MFA, PASSWORD)}, BY_TWO, MFA),
        ({"claims": essential(PASSWORD)}, BY_TWO, PASSWORD),  # it has to be one of those asked for (5.5.1.1)
    ],
)
async def test_what_the_tokens_say_a_sign_in_is_worth(
    stage: Stage, parameters: dict[str, str], amr: tuple[str, ...], told: str | None
) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    outcome = await stage.begin(hub, scope="openid", **parameters)
    sent = await stage.issue(outcome, person, position, amr=amr)
    if told is None:
        assert query(sent.redirect.uri)["error"] == "unmet_authentication_requirements"
        return
    body = (await stage.redeem(hub, query(sent.redirect.uri)["code"])).json()
    for token in (body["id_token"], body["access_token"]):
        assert read(token)["acr"] == told
        assert read(token)["amr"] == list(amr)
    introspected = (await stage.introspect(hub, body["access_token"])).json()
    assert (introspected["acr"], introspected["amr"]) == (told, list(amr))
    assert introspected["auth_time"] == read(body["id_token"])["auth_time"]


async def test_nobody_else_is_the_answer(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    sub, other = await stage.user(), await stage.user()
    wanted = json.dumps({"id_token": {"sub": {"value": sub}}})
    outcome = await stage.begin(hub, claims=wanted)
    person, position = await stage.sign_in(other)
    assert query((await stage.issue(outcome, person, position)).redirect.uri)["error"] == "login_required"
    person, position = await stage.sign_in(sub)
    assert "code" in query((await stage.issue(outcome, person, position)).redirect.uri)


async def test_discovery_says_what_works_and_nothing_else(stage: Stage) -> None:
    told = (await stage.http.get("/id/.well-known/openid-configuration")).json()
    hub = await stage.register(resources=True)
    sub = await stage.user()

    async def accepted(**parameters: str) -> bool:
        return isinstance(await stage.begin(hub, **parameters), Proceed)

    modes = ("query", "fragment", "form_post", "query.jwt", "web_message")
    assert told["response_modes_supported"] == [mode for mode in modes if await accepted(response_mode=mode)]
    prompts = ("none", "login", "consent", "select_account", "create")
    assert told["prompt_values_supported"] == [prompt for prompt in prompts if await accepted(prompt=prompt)]
    types = ("code", "token", "id_token", "code id_token", "none")
    assert told["response_types_supported"] == [one for one in types if await accepted(response_type=one)]
    assert told["request_uri_parameter_supported"] is await accepted(request_uri="https://rp.example/request")
    signer = await signing_client(stage, client_id="com.sign/app", resources=False)
    outcome = await begin_signed(stage, signer, request_of(stage, signer))
    assert told["request_parameter_supported"] is isinstance(outcome, Proceed)
    scopes = ("openid", "profile", "email", "address", "phone", "groups", "offline_access")
    assert told["scopes_supported"] == [scope for scope in scopes if await accepted(scope=f"openid {scope}")]
    for acr in ("phr", PASSWORD, MFA, "0"):
        essential = json.dumps({"id_token": {"acr": {"essential": True, "value": acr}}})
        assert (acr in told["acr_values_supported"]) is await accepted(claims=essential)
    assert told["claims_parameter_supported"] is True
    asked = json.dumps({"userinfo": dict.fromkeys([*told["claims_supported"], "shoe_size"])})
    of_claims = await stage.begin(hub, scope="openid", claims=asked)
    assert isinstance(of_claims, Proceed)
    single = {scope.partition(":")[2] for scope, _ in of_claims.scopes[1:]}
    of_tokens = read((await stage.tokens(hub, sub))["id_token"]).keys()
    assert set(told["claims_supported"]) == single | of_tokens
