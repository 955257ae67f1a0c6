"""Pushed authorization requests (RFC 9126), from the push to the tokens."""

from datetime import timedelta

import httpx
import pytest

from services.registry.events import ApplicationChanged
from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Proceed, Refused
from services.token_issuer.events import AuthorizationRequestPushed
from services.token_issuer.pruning import prune
from tests.support.assertions import signing_client
from tests.support.issuing import (
    API,
    CHALLENGE,
    CONFIDENTIAL,
    PUBLIC,
    SPA,
    Client,
    Stage,
    error,
    query,
)
from tests.support.pushing import begin_pushed, push, pushed_uri


async def test_what_was_pushed_leads_to_tokens(stage: Stage) -> None:
    for client in (await stage.register(resources=True), await signing_client(stage, client_id="com.sign/app")):
        answer = await push(stage, client)
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["expires_in"] == 60
        outcome = await begin_pushed(stage, client, answer.json()["request_uri"])
        assert isinstance(outcome, Proceed)
        assert outcome.request.state == "xyz"
        person, position = await stage.sign_in(await stage.user())
        sent = query((await stage.issue(outcome, person, position)).redirect.uri)
        assert (sent["state"], sent["iss"]) == ("xyz", stage.issuer.policy.issuer)
        assert (await stage.redeem(client, sent["code"])).status_code == 200


async def test_a_public_application_may_push_too(stage: Stage) -> None:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    assert isinstance(await begin_pushed(stage, spa, await pushed_uri(stage, spa)), Proceed)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"redirect_uri": "http://localhost:8480/other"}, "invalid_redirect_uri"),
        ({"redirect_uri": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": ""}, "invalid_request"),
        ({"scope": "openid everything"}, "invalid_scope"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"state": "s" * 2049}, "invalid_request"),
        ({"state": "a\nb"}, "invalid_request"),
        ({"request": "e30.e30."}, "request_not_supported"),
        ({"request_uri": "urn:ietf:params:oauth:request_uri:x"}, "invalid_request"),
        ({"id_token_hint": "x.y.z"}, "invalid_request"),
        ({"client_id": "com.mallory/app"}, "invalid_request"),
    ],
)
async def test_every_rule_is_applied_when_it_is_pushed(stage: Stage, changes: dict[str, str], code: str) -> None:
    hub = await stage.register(resources=True)
    answer = await push(stage, hub, **changes)
    assert (answer.status_code, error(answer)) == (400, code)
    assert await stage.facts(AuthorizationRequestPushed) == []


async def test_who_cannot_prove_itself_pushes_nothing(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    hub.secret = "wrong"
    answer = await push(stage, hub)
    assert (answer.status_code, error(answer)) == (401, "invalid_client")
    assert (await stage.http.get("/id/connect/par")).status_code == 405


async def test_it_is_over_after_a_minute(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    uri = await pushed_uri(stage, hub)
    stage.clock.ahead = timedelta(seconds=61)
    outcome = await begin_pushed(stage, hub, uri)
    assert isinstance(outcome, Refused)
    assert outcome.error == "invalid_request_uri"


async def test_what_has_changed_since_the_push_counts(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    uri = await pushed_uri(stage, hub)
    narrower = CONFIDENTIAL.model_copy(update={"scopes": ("update",)})
    await stage.of_application(ApplicationChanged(client_id=hub.client_id, settings=narrower, narrowed=True))
    await stage.follow()
    outcome = await begin_pushed(stage, hub, uri)
    assert isinstance(outcome, Redirect)
    assert query(outcome.uri)["error"] == "invalid_scope"


async def test_an_application_may_have_to_push(stage: Stage) -> None:
    has_to = CONFIDENTIAL.model_copy(update={"require_pushed_authorization_requests": True})
    hub = await stage.register(has_to, resources=True)
    outcome = await stage.begin(hub)
    assert isinstance(outcome, Redirect)
    assert query(outcome.uri)["error"] == "invalid_request"
    assert isinstance(await begin_pushed(stage, hub, await pushed_uri(stage, hub)), Proceed)


async def test_resources_are_pushed_as_often_as_they_are_given(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    form = {**request_of(hub), "resource": [API, f"{API}/x"]}
    answer = await stage.http.post("/id/connect/par", data=form, headers=hub.headers())
    assert error(answer) == "invalid_target"
    twice: httpx.Response = await stage.http.post(
        "/id/connect/par", data={**request_of(hub), "scope": ["read", "read"]}, headers=hub.headers()
    )
    assert error(twice) == "invalid_request"


async def test_what_was_pushed_is_neither_in_the_log_nor_readable_in_the_table(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    uri = await pushed_uri(stage, hub, login_hint="freddie@example.com")
    assert hub.secret is not None
    (fact,) = await stage.facts(AuthorizationRequestPushed)
    row = await stage.issuer.log.pool.fetchrow("SELECT * FROM token_issuer.pushed_requests")
    for text in (fact.to_json(), str(dict(row))):
        assert "freddie" not in text
        assert uri.rpartition(":")[2] not in text
        assert CHALLENGE not in text
    opened = str(stage.issuer.sealing.open_pairs(row["sealed"]))
    assert "freddie" in opened
    assert hub.secret not in opened


async def test_what_nobody_began_with_is_let_go(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    await pushed_uri(stage, hub)
    pool = stage.issuer.log.pool
    assert await prune(pool) == 0
    await pool.execute("UPDATE token_issuer.pushed_requests SET expires_at = expires_at - interval '1 hour'")
    assert await prune(pool) == 1
    assert await pool.fetchval("SELECT count(*) FROM token_issuer.pushed_requests") == 0


async def test_it_is_told_in_discovery(stage: Stage) -> None:
    told = (await stage.http.get("/id/.well-known/openid-configuration")).json()
    assert told["pushed_authorization_request_endpoint"].endswith("/id/connect/par")
    assert told["require_pushed_authorization_requests"] is False
    for endpoint in ("token", "introspection", "revocation"):
        assert "private_key_jwt" in told[f"{endpoint}_endpoint_auth_methods_supported"]
        algorithms = told[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]
        assert algorithms == ["ES256", "RS256", "PS256", "EdDSA"]


def request_of(client: Client) -> dict[str, str]:
    return {"client_id": client.client_id, "redirect_uri": client.redirect_uri, "response_type": "code"}
