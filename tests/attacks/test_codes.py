"""Stolen, injected, replayed and confused authorization codes (RFC 9700 section 4)."""

import pytest

from services.token_issuer.authorization.begin import Proceed, Redirect, Refused
from services.token_issuer.events import CodeRedeemed, GrantEnded
from services.token_issuer.scopes import parse
from stagedoor import Allowed, Denied
from tests.support.issuing import CHALLENGE, CONFIDENTIAL, ISSUER, PUBLIC, SPA, VERIFIER, Stage, error, query

MALLORY = "com.mallory/app"


async def test_a_code_of_one_client_is_nothing_to_another(stage: Stage) -> None:
    """Cross-client: a trusted application that is malicious steals a code of another."""
    hub = await stage.register(resources=True)
    mallory = await stage.register(client_id=MALLORY)
    code = await stage.code(hub, await stage.user())
    assert error(await stage.redeem(mallory, code)) == "invalid_grant"
    body = (await stage.redeem(hub, code)).json()
    assert error(await stage.redeem(mallory, code)) == "invalid_grant"
    assert isinstance(await stage.validate(body["access_token"]), Allowed)
    assert await stage.facts(GrantEnded) == []


async def test_a_stolen_code_is_nothing_without_the_verifier(stage: Stage) -> None:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    code = await stage.code(spa, await stage.user())
    for verifier in ("", "a" * 43, CHALLENGE, VERIFIER[:-1], VERIFIER + " ", VERIFIER.upper(), "é" * 43, "a" * 200):
        assert error(await stage.redeem(spa, code, code_verifier=verifier)) == "invalid_grant"
    assert await stage.facts(CodeRedeemed) == []
    assert (await stage.redeem(spa, code)).status_code == 200


async def test_an_injected_code_does_not_fit_the_victims_verifier(stage: Stage) -> None:
    """The thief puts a stolen code into a sign-in of their own; that one has another challenge."""
    hub = await stage.register(resources=True)
    stolen = await stage.code(hub, await stage.user())
    other = "another-verifier-that-the-thief-began-with-0123"
    assert error(await stage.redeem(hub, stolen, code_verifier=other)) == "invalid_grant"


async def test_a_replayed_code_takes_everything_back(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    body = (await stage.redeem(hub, code)).json()
    body = (await stage.refresh(hub, body["refresh_token"])).json()
    assert error(await stage.redeem(hub, code)) == "invalid_grant"
    assert isinstance(await stage.validate(body["access_token"]), Denied)
    assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_grant"


async def test_a_thief_with_half_the_proof_cannot_end_the_grant(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    body = (await stage.redeem(hub, code)).json()
    assert error(await stage.redeem(hub, code, code_verifier="x" * 43)) == "invalid_grant"
    assert error(await stage.redeem(hub, code, redirect_uri="https://mallory.example")) == "invalid_grant"
    hub.secret, right = "w" * 43, hub.secret
    assert error(await stage.redeem(hub, code)) == "invalid_client"
    hub.secret = right
    assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    "stripped",
    [
        {"code_challenge": "", "code_challenge_method": ""},
        {"code_challenge": ""},
        {"code_challenge_method": ""},
        {"code_challenge_method": "plain"},
        {"code_challenge": VERIFIER, "code_challenge_method": "plain"},
    ],
)
async def test_pkce_cannot_be_taken_out_of_the_request(stage: Stage, stripped: dict[str, str]) -> None:
    await stage.add_resources()
    for client in (await stage.register(PUBLIC, SPA), await stage.register(client_id=MALLORY)):
        outcome = await stage.begin(client, **stripped)
        assert isinstance(outcome, Redirect)
        assert query(outcome.uri)["error"] == "invalid_request"


async def test_nor_out_of_the_redemption(stage: Stage) -> None:
    """Where an application may go without, the challenge decides: with one, a verifier; without, none."""
    lax = await stage.register(CONFIDENTIAL.model_copy(update={"require_pkce": False}), resources=True)
    sub = await stage.user()
    with_challenge = await stage.code(lax, sub)
    assert error(await stage.redeem(lax, with_challenge, code_verifier="")) == "invalid_grant"
    without = await stage.code(lax, sub, code_challenge="", code_challenge_method="")
    assert error(await stage.redeem(lax, without)) == "invalid_grant"
    assert (await stage.redeem(lax, without, code_verifier="")).status_code == 200


async def test_every_answer_says_which_server_it_is_from(stage: Stage) -> None:
    """Mix-up (RFC 9207): errors as well as codes."""
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    outcome = await stage.begin(hub)
    wrong = await stage.begin(hub, response_type="token")
    assert isinstance(wrong, Redirect)
    sent = await stage.issue(outcome, person, position)
    nobody = await stage.issue(outcome, person, position, sub="nobody")
    for uri in (wrong.uri, sent.redirect, nobody.redirect):
        assert query(uri)["iss"] == ISSUER


async def test_one_kind_of_secret_is_not_another(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    body = await stage.tokens(hub, sub)
    code = await stage.code(hub, sub)
    for text in (body["refresh_token"], body["access_token"], body["id_token"]):
        assert error(await stage.redeem(hub, text)) == "invalid_grant"
    for text in (code, body["access_token"], body["id_token"], code.replace("sdc_", "sdr_")):
        assert error(await stage.refresh(hub, text)) == "invalid_grant"
    swapped = body["refresh_token"].replace("sdr_", "sdc_")
    assert error(await stage.redeem(hub, swapped)) == "invalid_grant"
    assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    "uri",
    [
        "{}.mallory.example",
        "{}/../../mallory",
        "{}/..%2f..%2fmallory",
        "{}%00",
        "{}?next=https://mallory.example",
        "{}#mallory",
        "{}/%2e%2e",
        "{};x",
        "{}%20",
        "{}@mallory.example",
        "https://mallory.example/?{}",
        "http://mallory.example#{}",
        "http://localhost:8480@mallory.example/callback",
        "http://localhost:8480\\@mallory.example/callback",
        "http://localhost:8480:443/callback",
        "http://LOCALHOST:8480/callback",
        "HTTP://localhost:8480/callback",
        "http://localhost:8480//callback",
        "http://localhost:8480/Callback",
        "http://localhost:8480/%63allback",
        "http://localhost:08480/callback",
        "http://127.0.0.1:8480/callback",
        "http://[::1]:8480/callback",
        "http://localhost:8480/callback\t",
        "http://localhost:8480/callback\r\nSet-Cookie: a=b",
        "javascript:alert(1)//http://localhost:8480/callback",
        "data:text/html,x",
        "//localhost:8480/callback",
        "/callback",
        "*",
    ],
)
async def test_a_redirect_uri_is_compared_to_the_letter(stage: Stage, uri: str) -> None:
    hub = await stage.register(resources=True)
    outcome = await stage.begin(hub, redirect_uri=uri.format(hub.redirect_uri))
    assert isinstance(outcome, Refused)
    assert "mallory" not in outcome.description


async def test_a_redirect_uri_cannot_be_smuggled_in_twice(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for more in (("redirect_uri", "https://mallory.example"), ("client_id", MALLORY)):
        assert isinstance(await stage.begin(hub, more), Refused)


async def test_a_state_cannot_add_parameters_or_headers(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    state = "x&code=stolen&iss=https://mallory.example#"
    sent = await stage.issue(await stage.begin(hub, state=state), person, position)
    assert query(sent.redirect)["state"] == state
    assert "#" not in sent.redirect
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


async def test_scopes_cannot_be_confused(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    for scope in ("read sec", "READ", "read,update", "read;update", "read\u00a0update", "read\u2028", "read%20update"):
        outcome = await stage.begin(hub, scope=scope)
        assert isinstance(outcome, Redirect), scope
        assert query(outcome.uri)["error"] in ("invalid_scope", "invalid_request")
    assert parse("read read") == ("read",)
