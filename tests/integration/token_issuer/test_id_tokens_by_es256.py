"""ID tokens signed with ES256, for applications that asked for it (`id_token_signed_response_alg`)."""

import json
from typing import Any
from unittest.mock import ANY

import jwt
import pytest

from services.registry.events import ApplicationChanged, ResponseAlgorithm
from services.token_issuer.authorization.begin import Proceed, Refused
from services.token_issuer.authorization.logout import Logout, begin_logout
from services.token_issuer.events import GrantEnded, KeyUse
from services.token_issuer.key_changes import KeyChanges
from services.token_issuer.public_keys import PublicKeys
from services.token_issuer.signing import generate
from services.token_issuer.vault import Wrapping
from shared.ids import new_command_id, new_id
from shared.log.append import Context
from stagedoor.verdict import Denied, Reason
from tests.support.issuing import CONFIDENTIAL, HUB, ISSUER, MASTER, PUBLIC, SPA, MovableClock, Stage, replica
from tests.support.postgres import Database

ES256 = CONFIDENTIAL.model_copy(update={"id_token_signed_response_alg": ResponseAlgorithm.ES256})


async def key_of(stage: Stage, token: str) -> dict[str, Any]:
    """The published key that signed it."""
    kid = jwt.get_unverified_header(token)["kid"]
    (found,) = [key for key in json.loads(stage.issuer.keys.jwks)["keys"] if key["kid"] == kid]
    return dict(found)


async def read(stage: Stage, token: str) -> dict[str, Any]:
    """The claims, checked as an application would that expects ES256 and nothing else."""
    key = await key_of(stage, token)
    return dict(jwt.decode(token, jwt.PyJWK(key), algorithms=["ES256"], audience=HUB, issuer=ISSUER))


async def test_a_log_from_before_gets_the_key_that_is_missing(database: Database) -> None:
    issuer, _ = await replica(database, MovableClock())
    changes = KeyChanges(issuer.log, Wrapping(MASTER), issuer.policy.keys)
    for use in (KeyUse.ACCESS_TOKEN, KeyUse.ID_TOKEN):
        await changes.introduce(use, Context("service:token_issuer", new_id(), new_command_id()))
    await issuer.keys.look()
    before = {key.use: key.kid for key in issuer.keys.list()}
    assert not issuer.keys.loaded, "it could not sign what an application asked for"
    checking = PublicKeys(issuer.questions)
    await checking.look()
    assert checking.loaded, "it checks access tokens, and nothing else"
    await issuer.keys.prepare()
    assert {**before, KeyUse.ID_TOKEN_ES256: ANY} == {use: issuer.keys.signer(use).kid for use in KeyUse}


async def test_each_application_gets_what_it_asked_for(stage: Stage) -> None:
    hub = await stage.register(ES256, resources=True)
    spa = await stage.register(PUBLIC, SPA)
    sub = await stage.user()
    body = await stage.tokens(hub, sub)
    said = await read(stage, body["id_token"])
    assert (said["sub"], said["nonce"]) == (sub, "n-0S6")
    assert (await key_of(stage, body["id_token"]))["alg"] == "ES256"
    assert (await key_of(stage, (await stage.tokens(spa, sub))["id_token"]))["alg"] == "RS256"
    fresh = (await stage.refresh(hub, body["refresh_token"])).json()
    assert (await read(stage, fresh["id_token"]))["sub"] == sub


async def test_discovery_names_the_algorithms_that_applications_can_have(stage: Stage) -> None:
    told = (await stage.http.get("/id/.well-known/openid-configuration")).json()
    had: list[str] = []
    for algorithm in ResponseAlgorithm:
        client_id = f"com.example/{algorithm.lower()}"
        settings = CONFIDENTIAL.model_copy(update={"id_token_signed_response_alg": algorithm})
        client = await stage.register(settings, client_id, resources=not had)
        had.append((await key_of(stage, (await stage.tokens(client, await stage.user()))["id_token"]))["alg"])
    assert told["id_token_signing_alg_values_supported"] == had
    assert "RS256" in had, "OpenID Connect Discovery section 3"


async def test_it_is_no_access_token_although_both_are_of_es256(stage: Stage) -> None:
    """No key signs both, so a resource that looks at nothing but the key cannot mistake one for the other."""
    hub = await stage.register(ES256, resources=True)
    body = await stage.tokens(hub, await stage.user())
    kids = {use: stage.issuer.keys.signer(use).kid for use in KeyUse}
    assert len(set(kids.values())) == 3
    assert jwt.get_unverified_header(body["id_token"])["kid"] == kids[KeyUse.ID_TOKEN_ES256]
    assert jwt.get_unverified_header(body["access_token"])["kid"] == kids[KeyUse.ACCESS_TOKEN]
    # Even one that calls itself an access token, by the right key for ID tokens.
    said = jwt.decode(body["access_token"], options={"verify_signature": False})
    for token in (body["id_token"], stage.issuer.keys.signer(KeyUse.ID_TOKEN_ES256).sign("at+jwt", said)):
        verdict = await stage.validate(token)
        assert isinstance(verdict, Denied)
        assert verdict.reason in {Reason.UNKNOWN_KEY, Reason.WRONG_TYPE}
        assert (await stage.introspect(hub, token)).json() == {"active": False}
    # Nor is an access token a hint.
    assert isinstance(await begin_logout(stage.issuer, [("id_token_hint", body["access_token"])]), Refused)
    forged = stage.issuer.keys.signer(KeyUse.ACCESS_TOKEN).sign("JWT", await read(stage, body["id_token"]))
    assert isinstance(await begin_logout(stage.issuer, [("id_token_hint", forged)]), Refused)


async def test_it_comes_back_as_a_hint(stage: Stage) -> None:
    hub = await stage.register(ES256, resources=True)
    sub = await stage.user()
    hint = (await stage.tokens(hub, sub))["id_token"]
    outcome = await begin_logout(stage.issuer, [("id_token_hint", hint)])
    assert isinstance(outcome, Logout)
    assert (outcome.client_id, outcome.sub) == (HUB, sub)
    assert isinstance(await stage.begin(hub, id_token_hint=hint), Proceed)
    # So it does when the application asks for the other algorithm by now.
    await stage.of_application(ApplicationChanged(client_id=HUB, settings=CONFIDENTIAL, narrowed=False))
    await stage.follow()
    assert isinstance(await stage.begin(hub, id_token_hint=hint), Proceed)


async def test_a_changed_wish_counts_from_the_next_token_on(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())
    first = (await stage.refresh(hub, body["refresh_token"])).json()
    await stage.of_application(ApplicationChanged(client_id=HUB, settings=ES256, narrowed=False))
    await stage.follow()
    again = (await stage.refresh(hub, body["refresh_token"])).json()
    assert again["refresh_token"] == first["refresh_token"], "it is the same answer, within the grace"
    before = jwt.decode(first["id_token"], options={"verify_signature": False})
    after = await read(stage, again["id_token"])
    assert {**after, "at_hash": ""} == {**before, "at_hash": ""}
    assert await stage.facts(GrantEnded) == []


@pytest.mark.parametrize("use", [KeyUse.ID_TOKEN, KeyUse.ID_TOKEN_ES256])
async def test_a_compromised_key_is_withdrawn_and_succeeded(
    stage: Stage, use: KeyUse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.token_issuer.key_changes.generate", generate)
    hub = await stage.register(ES256 if use is KeyUse.ID_TOKEN_ES256 else CONFIDENTIAL, resources=True)
    sub = await stage.user()
    hint = (await stage.tokens(hub, sub))["id_token"]
    kid = stage.issuer.keys.signer(use).kid
    assert jwt.get_unverified_header(hint)["kid"] == kid
    await stage.issuer.keys.compromise(kid, Context("user:brian", new_id(), new_command_id()))
    assert isinstance(await begin_logout(stage.issuer, [("id_token_hint", hint)]), Refused)
    fresh = (await stage.tokens(hub, sub))["id_token"]
    assert jwt.get_unverified_header(fresh)["kid"] == stage.issuer.keys.signer(use).kid != kid
