"""The device authorization grant (RFC 8628), from the device's question to its tokens."""

from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest

from services.identity.events import Role, UserKind
from services.token_issuer.events import (
    CodeRedeemed,
    DeviceAuthorizationRefused,
    DeviceAuthorizationRequested,
    GrantOpened,
)
from services.token_issuer.pruning import prune
from shared.errors import Refusal
from shared.ids import digest
from stagedoor import Allowed
from tests.support.assertions import signing_client
from tests.support.counting import RoundTrips
from tests.support.devices import (
    CONFIDENTIAL_DEVICE,
    PUBLIC_DEVICE,
    TELEVISION,
    allow,
    allowed,
    ask,
    ask_raw,
    begin,
    poll,
    refuse,
)
from tests.support.issuing import API, ISSUER, PUBLIC, USERINFO, Client, Stage, error


def unverified(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


async def device(stage: Stage, **changes: Any) -> Client:
    return await stage.register(PUBLIC_DEVICE.model_copy(update=changes), TELEVISION, resources=True)


async def test_a_device_gets_its_tokens(stage: Stage) -> None:
    for settings, client_id in ((PUBLIC_DEVICE, TELEVISION), (CONFIDENTIAL_DEVICE, "com.radio/app")):
        client = await stage.register(settings, client_id, resources=client_id == TELEVISION)
        asked = await ask(stage, client)
        assert error(await poll(stage, client, asked)) == "authorization_pending"
        sub = await stage.user()
        person, position = await stage.sign_in(sub)
        assert await allow(stage, await begin(stage, asked), person, position) > position
        answer = await poll(stage, client, asked)
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        assert (tokens["token_type"], tokens["scope"]) == ("Bearer", "openid read offline_access")
        assert isinstance(await stage.validate(tokens["access_token"]), Allowed)
        claims = unverified(tokens["access_token"])
        assert (claims["sub"], claims["sid"], claims["client_id"]) == (sub, person.sid, client_id)
        assert claims["aud"] == [API, USERINFO]
        about = unverified(tokens["id_token"])
        assert (about["sub"], about["aud"], about["sid"]) == (sub, client_id, person.sid)
        assert "nonce" not in about
        again = await stage.refresh(client, tokens["refresh_token"])
        assert again.status_code == 200
        assert unverified(again.json()["access_token"])["gid"] == claims["gid"]


async def test_what_a_device_is_told(stage: Stage) -> None:
    client = await device(stage)
    answer = await ask_raw(stage, client, scope="read")
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told["verification_uri"] == f"{ISSUER}/device"
    assert told["verification_uri_complete"] == f"{ISSUER}/device?user_code={told['user_code']}"
    assert (told["expires_in"], told["interval"]) == (600, 5)
    assert set(told) == {
        *("device_code", "user_code", "verification_uri", "verification_uri_complete", "expires_in", "interval")
    }


async def test_without_offline_access_or_openid_there_is_neither_token(stage: Stage) -> None:
    client = await device(stage)
    asked, _ = await allowed(stage, client, await stage.user(), scope="read")
    assert set((await poll(stage, client, asked)).json()) == {"access_token", "token_type", "expires_in", "scope"}


async def test_no_scope_asked_is_all_of_the_applications(stage: Stage) -> None:
    client = await device(stage)
    asked, _ = await allowed(stage, client, await stage.user(), scope="")
    assert (await poll(stage, client, asked)).json()["scope"] == "read update"


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"scope": "read everything"}, "invalid_scope"),
        ({"scope": "sec"}, "invalid_scope"),
        ({"scope": "read", "resource": "https://elsewhere.example"}, "invalid_target"),
        ({"scope": "read", "resource": USERINFO}, "invalid_scope"),
        ({"scope": "re\nad"}, "invalid_request"),
        ({"scope": "read", "client_secret": "x"}, "invalid_client"),
        ({"client_id": "com.mallory/app"}, "invalid_client"),
    ],
)
async def test_scopes_are_decided_at_once(stage: Stage, form: dict[str, str], code: str) -> None:
    answer = await ask_raw(stage, await device(stage), **form)
    assert error(answer) == code
    assert await stage.facts(DeviceAuthorizationRequested) == []


async def test_a_parameter_given_twice_is_refused(stage: Stage) -> None:
    client = await device(stage)
    form = {"client_id": client.client_id, "scope": ["read", "read"]}
    answer: httpx.Response = await stage.http.post("/id/connect/device", data=form)
    assert error(answer) == "invalid_request"
    assert (await stage.http.get("/id/connect/device")).status_code == 405


async def test_a_resource_narrows_the_tokens(stage: Stage) -> None:
    client = await device(stage)
    asked, _ = await allowed(stage, client, await stage.user(), scope="read", resource=API)
    assert unverified((await poll(stage, client, asked)).json()["access_token"])["aud"] == [API]
    asked, _ = await allowed(stage, client, await stage.user(), scope="openid read")
    assert error(await poll(stage, client, asked, resource="https://elsewhere.example")) == "invalid_target"
    narrowed = await poll(stage, client, asked, resource=API)
    assert unverified(narrowed.json()["access_token"])["aud"] == [API]


async def test_only_who_has_the_grant_may_ask(stage: Stage) -> None:
    spa = await stage.register(PUBLIC, resources=True)
    assert error(await ask_raw(stage, spa, scope="read")) == "unauthorized_client"


async def test_who_asks_too_often_is_slowed_down(stage: Stage) -> None:
    client = await device(stage)
    asked, other = await ask(stage, client), await ask(stage, client)
    assert error(await poll(stage, client, asked)) == "authorization_pending"
    stage.clock.ahead += timedelta(seconds=1)
    for seconds in (10, 15):
        answer = await poll(stage, client, asked)
        assert (answer.status_code, error(answer)) == (400, "slow_down")
        assert f"{seconds} seconds" in answer.json()["error_description"]
    assert error(await poll(stage, client, other)) == "authorization_pending"
    stage.clock.ahead += timedelta(seconds=7)
    assert error(await poll(stage, client, asked)) == "slow_down"
    stage.clock.ahead += timedelta(seconds=20)
    assert error(await poll(stage, client, asked)) == "authorization_pending"
    person, position = await stage.sign_in(await stage.user())
    await allow(stage, await begin(stage, asked), person, position)
    assert (await poll(stage, client, asked)).status_code == 200


async def test_asking_appends_nothing_and_is_one_statement(stage: Stage, round_trips: RoundTrips) -> None:
    client = await stage.register(CONFIDENTIAL_DEVICE, TELEVISION, resources=True)
    asked = await ask(stage, client)
    await poll(stage, client, asked)
    head = await stage.issuer.log.head()
    for ahead in (0, 30):
        stage.clock.ahead += timedelta(seconds=ahead)
        with round_trips.counted() as seen:
            assert error(await poll(stage, client, asked)) in ("slow_down", "authorization_pending")
        assert seen == ["ask"]
    assert (await stage.issuer.log.head()).position == head.position
    person, position = await stage.sign_in(await stage.user())
    await allow(stage, await begin(stage, asked), person, position)
    with round_trips.counted() as seen:
        assert (await poll(stage, client, asked)).status_code == 200
    assert seen == ["ask", "append"]


async def test_the_device_hears_of_a_no(stage: Stage) -> None:
    client = await device(stage)
    asked = await ask(stage, client)
    person, position = await stage.sign_in(await stage.user())
    waiting = await begin(stage, asked)
    await refuse(stage, waiting, person)
    for _ in range(2):
        assert error(await poll(stage, client, asked)) == "access_denied"
    (fact,) = await stage.facts(DeviceAuthorizationRefused)
    assert isinstance(fact, DeviceAuthorizationRefused)
    assert (fact.client_id, fact.sub, fact.sid) == (TELEVISION, person.sub, person.sid)
    for late in (
        lambda: refuse(stage, waiting, person),
        lambda: allow(stage, waiting, person, position),
        lambda: begin(stage, asked),
    ):
        with pytest.raises(Refusal) as refused:
            await late()
        assert refused.value.code == "user_code_unknown"
    assert await stage.facts(GrantOpened) == []


async def test_it_is_over_after_ten_minutes(stage: Stage) -> None:
    client = await device(stage)
    waiting = [await ask(stage, client) for _ in range(2)]
    begun = await begin(stage, waiting[0])
    person, position = await stage.sign_in(await stage.user())
    stage.clock.ahead = timedelta(seconds=570)
    assert error(await poll(stage, client, waiting[0])) == "authorization_pending"
    await allow(stage, await begin(stage, waiting[1]), person, position)
    stage.clock.ahead = timedelta(seconds=601)
    for one in waiting:
        assert error(await poll(stage, client, one)) == "expired_token"
    for late in (lambda: begin(stage, waiting[0]), lambda: allow(stage, begun, person, position)):
        with pytest.raises(Refusal) as refused:
            await late()
        assert refused.value.code == "user_code_unknown"


async def test_an_assertion_is_used_up_by_each_question(stage: Stage) -> None:
    client = await signing_client(stage, client_id=TELEVISION, grants=CONFIDENTIAL_DEVICE.grants)
    asked = await ask(stage, client)
    assert error(await poll(stage, client, asked)) == "authorization_pending"
    person, position = await stage.sign_in(await stage.user())
    await allow(stage, await begin(stage, asked), person, position)
    assert (await poll(stage, client, asked)).status_code == 200


async def test_an_administrators_device_gets_management(stage: Stage) -> None:
    client = await device(stage, scopes=("sec",))
    asked, _ = await allowed(stage, client, await stage.user(UserKind.INTERNAL, Role.ADMINISTRATOR), scope="sec")
    assert unverified((await poll(stage, client, asked)).json()["access_token"])["roles"] == ["administrator"]
    waiting = await begin(stage, await ask(stage, client, "sec"))
    person, position = await stage.sign_in(await stage.user())
    with pytest.raises(Refusal, match="administrators"):
        await allow(stage, waiting, person, position)


async def test_community_users_give_no_more_than_in_a_browser(stage: Stage) -> None:
    client = await device(stage, user_kinds=(UserKind.INTERNAL, UserKind.COMMUNITY))
    fan = await stage.user(UserKind.COMMUNITY)
    asked, _ = await allowed(stage, client, fan, scope="openid read")
    assert (await poll(stage, client, asked)).json()["scope"] == "openid"
    waiting = await begin(stage, await ask(stage, client, "read"))
    person, position = await stage.sign_in(fan)
    with pytest.raises(Refusal) as refused:
        await allow(stage, waiting, person, position)
    assert refused.value.code == "access_denied"


async def test_nothing_of_it_is_in_the_log_or_readable_in_the_table(stage: Stage) -> None:
    client = await device(stage)
    asked = await ask(stage, client, resource=API, scope="read update")
    (fact,) = await stage.facts(DeviceAuthorizationRequested)
    assert isinstance(fact, DeviceAuthorizationRequested)
    assert fact.device_code_digest == digest(asked.device_code)
    row = await stage.issuer.log.pool.fetchrow("SELECT * FROM token_issuer.device_requests")
    assert row["born"] == (await stage.issuer.log.head()).position
    for text in (fact.to_json(), str(dict(row)), repr(await begin(stage, asked))):
        assert asked.device_code not in text
        assert asked.device_code.partition(".")[2] not in text
    for text in (fact.to_json(), str(dict(row))):
        assert asked.user_code not in text
        assert asked.user_code.replace("-", "") not in text
        assert API not in text
        assert "update" not in text


async def test_rows_go_when_they_are_answered_or_too_old(stage: Stage) -> None:
    client = await device(stage)
    pool = stage.issuer.log.pool
    asked, _ = await allowed(stage, client, await stage.user())
    assert await pool.fetchval("SELECT count(*) FROM token_issuer.device_requests") == 0
    await ask(stage, client)
    assert await prune(pool) == 0
    await pool.execute("UPDATE token_issuer.device_requests SET expires_at = expires_at - interval '1 hour'")
    assert await prune(pool) == 1
    assert await pool.fetchval("SELECT count(*) FROM token_issuer.device_requests") == 0
    assert (await poll(stage, client, asked)).status_code == 200
    assert len(await stage.facts(CodeRedeemed)) == 1


async def test_it_is_told_in_discovery(stage: Stage) -> None:
    told = (await stage.http.get("/id/.well-known/openid-configuration")).json()
    assert told["device_authorization_endpoint"] == f"{ISSUER}/connect/device"
    assert "urn:ietf:params:oauth:grant-type:device_code" in told["grant_types_supported"]
