"""Tokens that are bound to a key (RFC 9449), at the issuer: what binds them, what they say, what they need."""

import asyncio
from datetime import timedelta
from typing import Any

import jwt
import pytest

from services.registry.events import ApplicationSettings
from services.token_issuer.authorization.answers import Redirect
from services.token_issuer.authorization.begin import Proceed
from services.token_issuer.domain.grant import evolve
from services.token_issuer.events import (
    AccessTokenIssued,
    AuthorizationRequestPushed,
    CodeRedeemed,
    GrantEnded,
    GrantOpened,
    ProofUsed,
    RefreshTokenRotated,
)
from stagedoor import Allowed, Denied, Proof
from stagedoor.dpop import ALGORITHMS
from tests.support import devices
from tests.support.assertions import signing_client
from tests.support.counting import RoundTrips
from tests.support.devices import PUBLIC_DEVICE, TELEVISION
from tests.support.dpop import PAR, TOKEN, ProofKey, ask, redeem, refresh, tokens
from tests.support.issuing import API, CONFIDENTIAL, PUBLIC, SPA, Client, Stage, error, query
from tests.support.pushing import begin_pushed
from tests.support.request_objects import begin_signed, request_of

OWN = {"grant_type": "client_credentials", "scope": "read"}
TOURS = f"{API}/tours"
PUSHED = {
    "response_type": "code",
    "scope": "openid read offline_access",
    "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    "code_challenge_method": "S256",
}


def said(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


async def accepted(stage: Stage, token: str, key: ProofKey) -> bool:
    head = await stage.issuer.log.head()
    proof = Proof("GET", TOURS, key.proof("GET", TOURS, token, iat=int(stage.clock().timestamp())))
    verdict = await stage.guard.validate(token, audience=API, min_position=head.position, proof=proof)
    return isinstance(verdict, Allowed)


async def public(stage: Stage) -> Client:
    return await stage.register(PUBLIC, SPA, resources=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_an_applications_own_token(stage: Stage, algorithm: str) -> None:
    hub, key = await stage.register(resources=True), ProofKey(algorithm, "own")
    answer = await ask(stage, hub, key, **OWN)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["token_type"] == "DPoP"
    assert said(body["access_token"])["cnf"] == {"jkt": key.jkt}
    (issued,) = await stage.facts(AccessTokenIssued)
    assert isinstance(issued, AccessTokenIssued)
    assert issued.jkt == key.jkt
    assert await accepted(stage, body["access_token"], key)
    assert isinstance(await stage.validate(body["access_token"]), Denied)


async def test_without_a_proof_everything_is_as_before(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    body = (await ask(stage, hub, None, **OWN)).json()
    assert body["token_type"] == "Bearer"
    assert "cnf" not in said(body["access_token"])
    assert isinstance(await stage.validate(body["access_token"]), Allowed)


async def test_a_proof_costs_no_round_trip(stage: Stage, round_trips: RoundTrips) -> None:
    hub, key = await stage.register(resources=True), ProofKey()
    await ask(stage, hub, key, **OWN)
    with round_trips.counted() as seen:
        assert (await ask(stage, hub, key, **OWN)).status_code == 200
    assert seen in (["ask", "append"], ["append"])
    body = await tokens(stage, hub, key, await stage.user())
    with round_trips.counted() as seen:
        assert (await refresh(stage, hub, key, body["refresh_token"])).status_code == 200
    assert seen == ["ask", "append"]


async def test_what_a_sign_in_gives_a_public_application(stage: Stage) -> None:
    spa, key = await public(stage), ProofKey()
    body = await tokens(stage, spa, key, await stage.user())
    assert body["token_type"] == "DPoP"
    assert await accepted(stage, body["access_token"], key)
    (redeemed,) = await stage.facts(CodeRedeemed)
    assert isinstance(redeemed, CodeRedeemed)
    assert (redeemed.jkt, redeemed.refresh_jkt) == (key.jkt, key.jkt)

    for wrong in (None, ProofKey()):
        answer = await refresh(stage, spa, wrong, body["refresh_token"])
        assert (answer.status_code, error(answer)) == (400, "invalid_grant")
    assert await stage.facts(GrantEnded) == [], "nobody without the key can end it either"

    rotated = (await refresh(stage, spa, key, body["refresh_token"])).json()
    assert rotated["token_type"] == "DPoP"
    assert said(rotated["access_token"])["cnf"] == {"jkt": key.jkt}
    assert await accepted(stage, rotated["access_token"], key)
    again = await refresh(stage, spa, key, body["refresh_token"])
    assert again.json()["refresh_token"] == rotated["refresh_token"]
    assert said(again.json()["access_token"]) == said(rotated["access_token"])
    assert len(await stage.facts(RefreshTokenRotated)) == 1
    assert len(await stage.facts(ProofUsed)) == 1, "a repetition writes nothing else"


async def test_a_retry_by_another_key_gets_nothing(stage: Stage) -> None:
    for client in (await public(stage), await stage.register()):
        key = ProofKey()
        body = await tokens(stage, client, key, await stage.user())
        assert (await refresh(stage, client, key, body["refresh_token"])).status_code == 200
        for wrong in (ProofKey(), None):
            assert error(await refresh(stage, client, wrong, body["refresh_token"])) == "invalid_grant"
        assert (await refresh(stage, client, key, body["refresh_token"])).status_code == 200
    assert await stage.facts(GrantEnded) == []


async def test_a_retry_without_a_key_stays_without_one(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())
    assert (await refresh(stage, hub, None, body["refresh_token"])).json()["token_type"] == "Bearer"
    assert error(await refresh(stage, hub, ProofKey(), body["refresh_token"])) == "invalid_grant"


async def test_a_confidential_application_may_change_its_key(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    body = await tokens(stage, hub, ProofKey(), await stage.user())
    other = ProofKey()
    rotated = (await refresh(stage, hub, other, body["refresh_token"])).json()
    assert said(rotated["access_token"])["cnf"] == {"jkt": other.jkt}
    plain = (await refresh(stage, hub, None, rotated["refresh_token"])).json()
    assert plain["token_type"] == "Bearer"
    assert "cnf" not in said(plain["access_token"])


async def test_a_public_application_that_begins_to_use_a_key_is_bound_to_it(stage: Stage) -> None:
    spa, key = await public(stage), ProofKey()
    body = await stage.tokens(spa, await stage.user())
    bound = (await refresh(stage, spa, key, body["refresh_token"])).json()
    assert bound["token_type"] == "DPoP"
    assert error(await refresh(stage, spa, None, bound["refresh_token"])) == "invalid_grant"
    assert (await refresh(stage, spa, key, bound["refresh_token"])).status_code == 200
    # The one from before is reuse, whoever comes with it.
    stage.clock.ahead += timedelta(seconds=11)
    assert error(await refresh(stage, spa, None, body["refresh_token"])) == "invalid_grant"
    assert len(await stage.facts(GrantEnded)) == 1


async def test_an_application_that_gets_bound_tokens_only(stage: Stage) -> None:
    bound = {"dpop_bound_access_tokens": True}
    hub = await stage.register(CONFIDENTIAL.model_copy(update=bound), resources=True)
    spa = await stage.register(PUBLIC.model_copy(update=bound), SPA)
    key = ProofKey()
    answer = await ask(stage, hub, None, **OWN)
    assert (answer.status_code, error(answer)) == (400, "invalid_request")
    assert (await ask(stage, hub, key, **OWN)).json()["token_type"] == "DPoP"
    for client in (hub, spa):
        code = await stage.code(client, await stage.user())
        assert error(await redeem(stage, client, None, code)) == "invalid_request"
        body = (await redeem(stage, client, key, code)).json()
        assert body["token_type"] == "DPoP"
        assert error(await refresh(stage, client, None, body["refresh_token"])) == "invalid_request"
        assert (await refresh(stage, client, key, body["refresh_token"])).status_code == 200
    # Neither asks for a token.
    assert (await stage.introspect(hub, "x")).json() == {"active": False}
    assert (await stage.revoke(spa, "x")).status_code == 200


@pytest.mark.parametrize("settings", [CONFIDENTIAL, PUBLIC])
async def test_a_code_that_is_for_a_key(stage: Stage, settings: ApplicationSettings) -> None:
    client, key = await stage.register(settings, SPA, resources=True), ProofKey()
    code = await stage.code(client, await stage.user(), dpop_jkt=key.jkt)
    (opened,) = await stage.facts(GrantOpened)
    assert isinstance(opened, GrantOpened)
    assert opened.dpop_jkt == key.jkt
    for wrong in (None, ProofKey()):
        assert error(await redeem(stage, client, wrong, code)) == "invalid_grant"
    assert (await redeem(stage, client, key, code)).json()["token_type"] == "DPoP"
    assert error(await redeem(stage, client, ProofKey(), code)) == "invalid_grant"
    assert await stage.facts(GrantEnded) == [], "who has not the key uses up nothing"
    assert error(await redeem(stage, client, key, code)) == "invalid_grant"
    assert len(await stage.facts(GrantEnded)) == 1


@pytest.mark.parametrize("value", ["short", "a" * 44, "a" * 42 + "+", "a" * 42 + "="])
async def test_a_thumbprint_that_is_none(stage: Stage, value: str) -> None:
    outcome = await stage.begin(await stage.register(resources=True), dpop_jkt=value)
    assert isinstance(outcome, Redirect)
    assert query(outcome.uri)["error"] == "invalid_request"


async def test_a_proof_with_a_pushed_request_binds_the_code(stage: Stage) -> None:
    hub, key = await stage.register(resources=True), ProofKey()
    form = {**PUSHED, "redirect_uri": hub.redirect_uri}
    for more in ({}, {"dpop_jkt": key.jkt}):
        answer = await ask(stage, hub, key, at=PAR, **form, **more)
        assert answer.status_code == 201, answer.text
        outcome = await begin_pushed(stage, hub, answer.json()["request_uri"])
        assert isinstance(outcome, Proceed)
        assert outcome.request.dpop_jkt == key.jkt
    other = await ask(stage, hub, key, at=PAR, **form, dpop_jkt=ProofKey().jkt)
    assert (other.status_code, error(other)) == (400, "invalid_dpop_proof")
    elsewhere = await ask(stage, hub, None, key.proof("POST", TOKEN), at=PAR, **form)
    assert error(elsewhere) == "invalid_dpop_proof"
    proof = key.proof("POST", PAR)
    assert (await ask(stage, hub, None, proof, at=PAR, **form)).status_code == 201
    assert error(await ask(stage, hub, None, proof, at=PAR, **form)) == "invalid_dpop_proof"
    assert len(await stage.facts(AuthorizationRequestPushed)) == 3


async def test_so_does_one_with_a_signed_request(stage: Stage) -> None:
    """Of which only what is signed counts (RFC 9101); the proof is no part of it."""
    client, key = await signing_client(stage), ProofKey()

    async def pushed(**claims: Any) -> Any:
        form = {"request": request_of(stage, client, **claims), "dpop_jkt": ProofKey().jkt}
        return await ask(stage, client, key, at=PAR, **form)

    for more in ({}, {"dpop_jkt": key.jkt}):
        answer = await pushed(**more)
        assert answer.status_code == 201, answer.text
        outcome = await begin_pushed(stage, client, answer.json()["request_uri"])
        assert isinstance(outcome, Proceed)
        assert outcome.request.dpop_jkt == key.jkt
    assert error(await pushed(dpop_jkt=ProofKey().jkt)) == "invalid_dpop_proof"
    by_browser = await begin_signed(stage, client, request_of(stage, client, dpop_jkt=key.jkt), ("dpop_jkt", "x"))
    assert isinstance(by_browser, Proceed)
    assert by_browser.request.dpop_jkt == key.jkt


@pytest.mark.parametrize(
    "changes",
    [
        {"htm": "GET"},
        {"htu": f"{PAR}"},
        {"htu": "https://elsewhere.example/id/connect/token"},
        {"iat": 1},
        {"jti": None},
    ],
)
async def test_a_proof_that_is_wrong(stage: Stage, changes: dict[str, Any]) -> None:
    hub = await stage.register(resources=True)
    answer = await ask(stage, hub, None, ProofKey().proof("POST", TOKEN, **changes), **OWN)
    assert (answer.status_code, error(answer)) == (400, "invalid_dpop_proof")
    assert await stage.facts(AccessTokenIssued) == []


async def test_a_proof_that_was_used(stage: Stage) -> None:
    hub, key = await stage.register(resources=True), ProofKey()
    proof = key.proof("POST", TOKEN)
    answers = await asyncio.gather(*(ask(stage, hub, None, proof, **OWN) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200, *[400] * 9]
    assert {error(answer) for answer in answers if answer.status_code == 400} == {"invalid_dpop_proof"}
    assert len(await stage.facts(AccessTokenIssued)) == 1


async def test_an_application_that_signs_and_has_a_key(stage: Stage) -> None:
    hub, key = await signing_client(stage), ProofKey()
    proof = key.proof("POST", TOKEN)
    assert (await ask(stage, hub, None, proof, **OWN)).json()["token_type"] == "DPoP"
    # The proof is what was used before, and the assertion is now.
    form = hub.form(**OWN)
    headers = {"DPoP": proof}
    assert error(await stage.http.post(TOKEN, data=form, headers=headers)) == "invalid_dpop_proof"
    assert error(await stage.http.post(TOKEN, data=form)) == "invalid_client"
    # And the other way round.
    form = hub.form(**OWN)
    assert (await stage.http.post(TOKEN, data=form)).status_code == 200
    fresh = {"DPoP": key.proof("POST", TOKEN)}
    assert error(await stage.http.post(TOKEN, data=form, headers=fresh)) == "invalid_client"


async def test_introspection_says_what_a_token_is_bound_to(stage: Stage) -> None:
    spa, key = await public(stage), ProofKey()
    hub = await stage.register(client_id="com.example/resource")
    await stage.add_resources(callers=("client:com.example/resource",))
    await stage.follow()
    body = await tokens(stage, spa, key, await stage.user())
    answer = (await stage.introspect(hub, body["access_token"])).json()
    assert (answer["active"], answer["token_type"], answer["cnf"]) == (True, "DPoP", {"jkt": key.jkt})
    await stage.revoke(spa, body["access_token"])
    assert (await stage.introspect(hub, body["access_token"])).json() == {"active": False}


async def test_what_the_tables_know_is_what_a_rebuild_makes(stage: Stage) -> None:
    spa, key = await public(stage), ProofKey()
    body = await tokens(stage, spa, key, await stage.user(), dpop_jkt=key.jkt)
    await refresh(stage, spa, key, body["refresh_token"])
    ((gid, *known),) = await stage.issuer.log.pool.fetch(
        "SELECT gid, dpop_jkt, token_jkt, refresh_jkt FROM token_issuer.grants"
    )
    assert known == [key.jkt] * 3
    events = [recorded.event for recorded in await stage.issuer.log.read(0, sources=("token_issuer",))]
    state = None
    for event in events:
        state = evolve(state, event)
    assert state is not None
    assert (state.gid, state.dpop_jkt, state.token_jkt, state.refresh_jkt) == (gid, *known)


async def test_a_page_may_ask_with_a_proof(stage: Stage) -> None:
    asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    for path in (TOKEN, PAR):
        answer = await stage.http.options(path, headers=asking)
        assert "dpop" in answer.headers["access-control-allow-headers"]


async def test_discovery_says_so(stage: Stage) -> None:
    document = (await stage.http.get("/id/.well-known/openid-configuration")).json()
    assert document["dpop_signing_alg_values_supported"] == ["ES256", "RS256", "PS256", "EdDSA"]


async def test_what_a_device_gets_is_bound_to_the_key_that_it_shows(stage: Stage) -> None:
    """And the proofs of its questions, which append nothing, are not used up by them."""
    settings = PUBLIC_DEVICE.model_copy(update={"dpop_bound_access_tokens": True})
    television = await stage.register(settings, TELEVISION, resources=True)
    asked = await devices.ask(stage, television)
    key, other = ProofKey("ES256", "television"), ProofKey("ES256", "other")
    form = {"grant_type": devices.GRANT, "device_code": asked.device_code}
    waiting = key.proof("POST", TOKEN, iat=int(stage.clock().timestamp()))
    for _ in range(2):
        assert error(await ask(stage, television, None, waiting, **form)) in {"authorization_pending", "slow_down"}
    person, position = await stage.sign_in(await stage.user())
    await devices.allow(stage, await devices.begin(stage, asked), person, position)
    assert error(await devices.poll(stage, television, asked)) == "invalid_request"
    answer = await ask(stage, television, None, waiting, **form)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["token_type"] == "DPoP"
    assert said(body["access_token"])["cnf"] == {"jkt": key.jkt}
    assert await accepted(stage, body["access_token"], key)
    for stranger in (None, other):
        refused = await refresh(stage, television, stranger, body["refresh_token"])
        assert error(refused) in {"invalid_request", "invalid_grant"}
    again = await refresh(stage, television, key, body["refresh_token"])
    assert again.status_code == 200
