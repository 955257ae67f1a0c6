"""Applications that are held to the FAPI 2.0 Security Profile: what works, from the push to the last refresh."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt

from services.registry.events import ApplicationChanged, ApplicationDisabled
from services.token_issuer.authorization.begin import Proceed
from services.token_issuer.events import GrantEnded, RefreshTokenRotated, RefreshTokenUsed
from services.token_issuer.history import HISTORY
from stagedoor import Allowed, Denied, Proof
from tests.support.assertions import ClientKey, asserted, signing, signing_client
from tests.support.counting import RoundTrips
from tests.support.dpop import ProofKey, ask, redeem, refresh
from tests.support.issuing import API, CONFIDENTIAL, HUB, ISSUER, Stage, error, query
from tests.support.security_profile import CALLBACK, begun, code, held, held_client, push, tokens

OWN = {"grant_type": "client_credentials"}
TOURS = f"{API}/tours"


async def accepted(stage: Stage, token: str, key: ProofKey) -> bool:
    head = await stage.issuer.log.head()
    proof = Proof("GET", TOURS, key.proof("GET", TOURS, token, iat=int(stage.clock().timestamp())))
    verdict = await stage.guard.validate(token, audience=API, min_position=head.position, proof=proof)
    return isinstance(verdict, Allowed)


def policy(stage: Stage, **changes: Any) -> None:
    object.__setattr__(stage.issuer, "policy", replace(stage.issuer.policy, **changes))


async def test_the_whole_way(stage: Stage) -> None:
    """Sections 5.3.2.1 and 5.3.2.2; and one refresh token all the way (5.3.2.1, item 9)."""
    hub, key = await held_client(stage), ProofKey()
    person, position = await stage.sign_in(await stage.user())
    outcome = await begun(stage, hub, key, nonce="n" * 64)
    sent = query((await stage.issue(outcome, person, position)).redirect.uri)
    assert (sent["state"], sent["iss"]) == ("xyz", ISSUER)
    body = (await redeem(stage, hub, key, sent["code"])).json()
    assert body["token_type"] == "DPoP"
    assert jwt.get_unverified_header(body["id_token"])["alg"] == "ES256"
    seen = [body]
    for _ in range(3):
        answer = await refresh(stage, hub, key, body["refresh_token"])
        assert answer.status_code == 200, answer.text
        seen.append(answer.json())
        assert (seen[-1]["token_type"], "refresh_token" in seen[-1]) == ("DPoP", False)
        assert jwt.get_unverified_header(seen[-1]["id_token"])["alg"] == "ES256"
    assert len({one["access_token"] for one in seen}) == len(seen)
    for one in seen:
        assert await accepted(stage, one["access_token"], key), "older ones stay"
        assert isinstance(await stage.validate(one["access_token"]), Denied), "and are nothing without the key"
    assert (await stage.introspect(hub, body["refresh_token"])).json()["active"] is True
    assert await stage.facts(RefreshTokenRotated) == []
    assert await stage.facts(GrantEnded) == []

    assert (await stage.revoke(hub, body["refresh_token"])).status_code == 200
    assert error(await refresh(stage, hub, key, body["refresh_token"])) == "invalid_grant"
    for one in seen:
        assert not await accepted(stage, one["access_token"], key)
        assert (await stage.introspect(hub, one["access_token"])).json() == {"active": False}


async def test_each_use_of_a_refresh_token_is_a_fact_that_issued_a_token(stage: Stage) -> None:
    hub, key, other = await held_client(stage), ProofKey(), ProofKey()
    body = await tokens(stage, hub, key, await stage.user())
    second = (await refresh(stage, hub, other, body["refresh_token"], scope="read")).json()
    (used,) = await stage.facts(RefreshTokenUsed)
    assert isinstance(used, RefreshTokenUsed)
    said = jwt.decode(second["access_token"], options={"verify_signature": False})
    assert (used.jti, used.scopes, used.jkt) == (said["jti"], ("read",), other.jkt)
    assert said["cnf"] == {"jkt": other.jkt}, "a confidential application may change its key (RFC 9449 section 5)"
    stream = await stage.issuer.log.load(f"grant-{used.gid}")
    told = HISTORY.tokens
    assert told is not None
    issued = told.issued(stream.events, used.jti)
    assert issued is not None
    assert (issued.jti, issued.gid, issued.client_id, issued.position) == (used.jti, used.gid, HUB, said["pos"])
    for secret in (body["refresh_token"], second["access_token"]):
        assert secret not in "".join(one.event.to_json() for one in stream.events)


async def test_many_places_of_an_application_refresh_at_once(stage: Stage, round_trips: RoundTrips) -> None:
    hub, key = await held_client(stage), ProofKey()
    body = await tokens(stage, hub, key, await stage.user())
    with round_trips.counted() as seen:
        assert (await refresh(stage, hub, key, body["refresh_token"])).status_code == 200
    assert seen == ["ask", "append"]
    answers = await asyncio.gather(*(refresh(stage, hub, key, body["refresh_token"]) for _ in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["access_token"] for answer in answers}) == 8
    assert await stage.facts(GrantEnded) == []


async def test_every_kind_of_key_that_it_allows(stage: Stage) -> None:
    """Section 5.4.1, of the application and of its proofs; for tokens of its own."""
    for algorithm in ("ES256", "PS256", "EdDSA"):
        client_id = f"com.example/{algorithm.lower()}"
        hub = await held_client(stage, ClientKey(algorithm), client_id=client_id, resources=algorithm == "ES256")
        key = ProofKey(algorithm, "own")
        body = (await ask(stage, hub, key, **OWN)).json()
        assert body["token_type"] == "DPoP"
        assert await accepted(stage, body["access_token"], key)


async def test_the_kill_switch_is_heard_of_before_a_refresh(stage: Stage) -> None:
    """Nothing is rotated, so nothing but the fence stands between; it holds as ever."""
    hub, key = await held_client(stage), ProofKey()
    body = await tokens(stage, hub, key, await stage.user())
    await stage.of_application(ApplicationDisabled(client_id=HUB, reason=""))
    assert error(await refresh(stage, hub, key, body["refresh_token"])) == "invalid_client"
    assert await stage.facts(RefreshTokenUsed) == []


async def test_how_long_things_live(stage: Stage) -> None:
    """Codes for a minute, whatever the setting says (5.3.2.1, item 11; 5.3.2.2, item 12); refreshing till the grant's
    own end, however often."""
    policy(stage, code=timedelta(seconds=600), pushed_request=timedelta(seconds=600))
    hub, key = await held_client(stage, refresh_token_seconds=3600), ProofKey()
    body = await tokens(stage, hub, key, await stage.user())
    assert (await push(stage, hub)).json()["expires_in"] < 600
    late = await code(stage, hub, await stage.user(), key)
    stage.clock.ahead = timedelta(seconds=61)
    assert error(await redeem(stage, hub, key, late)) == "invalid_grant"
    stage.clock.ahead = timedelta(seconds=3500)
    assert (await refresh(stage, hub, key, body["refresh_token"])).status_code == 200
    stage.clock.ahead = timedelta(seconds=3601)
    assert error(await refresh(stage, hub, key, body["refresh_token"])) == "invalid_grant"


async def test_clocks_may_differ_by_a_little(stage: Stage) -> None:
    """Section 5.3.2.1, item 13: 10 seconds have to be taken, more than 60 must not."""
    policy(stage, proof_window=timedelta(seconds=600))
    hub, key = await held_client(stage), ProofKey()

    async def answer(name: str, ahead: int, *, of_proof: bool) -> str:
        now = int(stage.clock().timestamp())
        then = {name: now + ahead}
        claims = {} if of_proof else then
        proof = key.proof("POST", f"{ISSUER}/connect/token", None, **{"iat": now, **(then if of_proof else {})})
        said = hub.claims(**{"exp": now + 600, **claims})
        form = asserted(hub.key.sign(said), **OWN)
        found = await stage.http.post("/id/connect/token", data=form, headers={"DPoP": proof})
        return "" if found.status_code == 200 else error(found)

    for name in ("iat", "nbf"):
        for of_proof, refusal in ((False, "invalid_client"), (True, "invalid_dpop_proof")):
            assert await answer(name, 10, of_proof=of_proof) == ""
            assert await answer(name, 300, of_proof=of_proof) == refusal


async def test_what_was_begun_before_the_profile_ends_with_it(stage: Stage) -> None:
    """Begun in the open, with a code that is bound to nothing, or with tokens that are not."""
    hub = await signing_client(stage, redirect_uris=(CALLBACK,))
    sub = await stage.user()
    before = await stage.tokens(hub, sub)
    unused = await stage.code(hub, sub)
    person, position = await stage.sign_in(sub)
    outcome = await stage.begin(hub)
    assert isinstance(outcome, Proceed)
    without_pkce = await signing_client(
        stage, client_id="com.setlist/app", resources=False, redirect_uris=(CALLBACK,), require_pkce=False
    )
    pushed = await begun(stage, without_pkce, code_challenge="", code_challenge_method="")
    after = ApplicationChanged(client_id=HUB, settings=held(hub.key), narrowed=True)
    await stage.of_application(after)
    other = ApplicationChanged(client_id=without_pkce.client_id, settings=held(hub.key), narrowed=True)
    await stage.of_application(other, client_id=without_pkce.client_id)
    for begun_before in (outcome, pushed):
        sent = query((await stage.issue(begun_before, person, position)).redirect.uri)
        assert (sent["error"], "code" in sent) == ("invalid_request", False)
    key = ProofKey()
    assert error(await redeem(stage, hub, key, unused)) == "invalid_grant"
    assert error(await refresh(stage, hub, key, before["refresh_token"])) == "invalid_grant"
    assert isinstance(await stage.validate(before["access_token"]), Denied)
    assert (await refresh(stage, hub, key, (await tokens(stage, hub, key, sub))["refresh_token"])).status_code == 200


async def test_without_the_profile_they_rotate_again(stage: Stage) -> None:
    hub, key = await held_client(stage), ProofKey()
    body = await tokens(stage, hub, key, await stage.user())
    await stage.of_application(ApplicationChanged(client_id=HUB, settings=signing(hub.key), narrowed=False))
    await stage.follow()
    rotated = (await refresh(stage, hub, key, body["refresh_token"])).json()
    assert rotated["refresh_token"] != body["refresh_token"]
    stage.clock.ahead = timedelta(seconds=11)
    assert error(await refresh(stage, hub, key, body["refresh_token"])) == "invalid_grant"
    assert len(await stage.facts(GrantEnded)) == 1


async def test_others_are_not_held_to_it(stage: Stage) -> None:
    rs256 = await signing_client(stage, ClientKey("RS256"))
    form = asserted(rs256.assertion(aud=[ISSUER, f"{ISSUER}/connect/token"]), **OWN)
    assert (await stage.http.post("/id/connect/token", data=form)).status_code == 200
    hub = await stage.register(CONFIDENTIAL, "com.setlist/app")
    body = await stage.tokens(hub, await stage.user())
    assert jwt.get_unverified_header(body["id_token"])["alg"] == "RS256"
    assert (await stage.refresh(hub, body["refresh_token"])).json()["refresh_token"] != body["refresh_token"]
