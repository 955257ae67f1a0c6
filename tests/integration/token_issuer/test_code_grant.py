"""From the authorization request to tokens, over HTTP and on a real log."""

import asyncio
from datetime import datetime, timedelta

import jwt
import pytest

from services.token_issuer.domain.grant import decider
from services.token_issuer.events import CodeRedeemed, GrantEnded, GrantOpened
from services.token_issuer.tokens import at_hash
from stagedoor import Allowed, Denied
from stagedoor.verdict import Reason
from tests.support.issuing import API, HUB, ISSUER, PUBLIC, SPA, USERINFO, Stage, error, query


async def test_a_sign_in_gives_tokens(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    answer = await stage.redeem(hub, await stage.code(hub, sub))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 3600, "openid read offline_access")

    verdict = await stage.validate(body["access_token"])
    assert isinstance(verdict, Allowed), verdict
    (opened,) = await stage.facts(GrantOpened)
    (redeemed,) = await stage.facts(CodeRedeemed)
    assert isinstance(opened, GrantOpened)
    assert isinstance(redeemed, CodeRedeemed)
    assert (verdict.sub, verdict.client_id, verdict.gid, verdict.jti) == (sub, HUB, opened.gid, redeemed.jti)
    assert verdict.claims["aud"] == [API, USERINFO]
    assert "read" in verdict.scopes

    keys = jwt.PyJWKSet.from_json((await stage.http.get("/id/connect/jwks")).text)
    key = {key.key_id: key for key in keys.keys}[jwt.get_unverified_header(body["id_token"])["kid"]]
    claims = jwt.decode(body["id_token"], key, algorithms=["RS256"], audience=HUB, issuer=ISSUER)
    assert (claims["sub"], claims["nonce"], claims["sid"]) == (sub, "n-0S6", opened.sid)
    assert claims["at_hash"] == at_hash(body["access_token"])


async def test_a_token_names_its_own_line_in_the_log(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    (row,) = [r for r in await stage.issuer.log.read(claims["pos"] - 1) if r.position == claims["pos"]]
    assert isinstance(row.event, CodeRedeemed)
    assert row.event.jti == claims["jti"]
    assert isinstance(row.recorded_at, datetime)
    assert claims["iat"] == int(row.recorded_at.timestamp())


async def test_nothing_secret_is_in_the_log(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    body = (await stage.redeem(hub, code)).json()
    again = (await stage.refresh(hub, body["refresh_token"])).json()
    rows = await stage.issuer.log.pool.fetch("SELECT to_jsonb(g)::text AS row FROM token_issuer.grants g")
    kept = " ".join([row.data for row in await stage.issuer.log.read_rows(0, limit=1000, until=10**9)])
    kept += " ".join(row["row"] for row in rows)
    for secret in (hub.secret, code, body["refresh_token"], body["access_token"], again["refresh_token"]):
        assert secret is not None
        assert secret.rpartition(".")[2] not in kept


async def test_the_answer_says_whose_it_is(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    person, position = await stage.sign_in(await stage.user())
    sent = await stage.issue(await stage.begin(hub), person, position)
    assert query(sent.redirect.uri).keys() == {"code", "state", "iss"}
    assert query(sent.redirect.uri)["iss"] == ISSUER
    assert query(sent.redirect.uri)["state"] == "xyz"
    assert sent.position > position


async def test_a_public_application_signs_in_with_pkce_alone(stage: Stage) -> None:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    body = await stage.tokens(spa, await stage.user())
    assert body["scope"] == "openid read offline_access"
    grants = await stage.issuer.questions.grants(sub=None, client_id=SPA, before=None, limit=10)
    lifetime = grants[0].grant.refresh_expires_at
    assert lifetime is not None
    assert lifetime - grants[0].grant.opened_at == timedelta(hours=24)


async def test_the_tables_have_what_the_events_say(stage: Stage) -> None:
    """No decision needs an old event: the row is the state."""
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())
    (known,) = await stage.issuer.questions.grants(sub=None, client_id=None, before=None, limit=10)
    for _ in range(2):
        stream = await stage.issuer.log.load(decider.stream(known.grant.gid))
        (known,) = await stage.issuer.questions.grants(sub=None, client_id=None, before=None, limit=10)
        assert known.grant == decider.fold(recorded.event for recorded in stream.events)
        assert (known.version, known.position) == (stream.version, stream.events[-1].position)
        assert known.born == stream.events[0].position
        body = (await stage.refresh(hub, body["refresh_token"])).json()


async def test_fifty_valid_redemptions_at_once(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    answers = await asyncio.gather(*(stage.redeem(hub, code) for _ in range(50)))
    won = [answer for answer in answers if answer.status_code == 200]
    lost = [answer for answer in answers if answer.status_code != 200]
    assert len(won) == 1
    assert {error(answer) for answer in lost} == {"invalid_grant"}
    assert len(await stage.facts(CodeRedeemed)) == 1
    assert len(await stage.facts(GrantEnded)) == 1
    verdict = await stage.validate(won[0].json()["access_token"])
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.DENIED_GRANT
    assert error(await stage.refresh(hub, won[0].json()["refresh_token"])) == "invalid_grant"


async def test_a_second_redemption_ends_the_grant(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    body = (await stage.redeem(hub, code)).json()
    again = await stage.redeem(hub, code)
    assert again.status_code == 400
    assert error(again) == "invalid_grant"
    assert isinstance(await stage.validate(body["access_token"]), Denied)
    assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_grant"
    assert (await stage.introspect(hub, body["refresh_token"])).json() == {"active": False}


async def test_a_code_lives_for_a_minute(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    stage.clock.ahead += timedelta(seconds=61)
    assert error(await stage.redeem(hub, code)) == "invalid_grant"


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "x" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "http://localhost:8480/other"},
        {"redirect_uri": ""},
    ],
)
async def test_a_wrong_attempt_does_not_use_the_code_up(stage: Stage, changes: dict[str, str]) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    assert error(await stage.redeem(hub, code, **changes)) == "invalid_grant"
    assert (await stage.redeem(hub, code)).status_code == 200


async def test_a_resource_at_the_token_endpoint_narrows_the_token(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    body = (await stage.redeem(hub, code, resource=API)).json()
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["scope"]) == ([API], "read offline_access")
    assert "id_token" in body
    wide = (await stage.refresh(hub, body["refresh_token"])).json()
    assert jwt.decode(wide["access_token"], options={"verify_signature": False})["aud"] == [API, USERINFO]
    other = await stage.refresh(hub, wide["refresh_token"], resource="https://unknown.example")
    assert error(other) == "invalid_target"
