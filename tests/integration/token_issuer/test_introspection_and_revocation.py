"""Asking about tokens, and taking them back: each client its own, each resource those for it."""

from datetime import timedelta

import jwt
import pytest

from services.identity.events import PasswordReset, UserDisabled, UserEnabled
from services.registry.events import ApplicationDisabled, AuthMethod
from services.token_issuer.events import AccessTokenRevoked, GrantEnded, GrantEndReason
from services.token_issuer.revoking import revoke_by_id
from shared.errors import Refusal
from shared.ids import new_command_id, new_id
from shared.log.append import Context
from stagedoor import Allowed, Denied
from stagedoor.verdict import Reason
from tests.support.issuing import CONFIDENTIAL, HUB, ISSUER, PUBLIC, SPA, Stage, error

OTHER = "com.setlist/app"
POST = CONFIDENTIAL.model_copy(update={"auth_method": AuthMethod.CLIENT_SECRET_POST})


async def test_a_client_asks_about_its_own_token(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    body = await stage.tokens(hub, sub)
    told = (await stage.introspect(hub, body["access_token"])).json()
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert told["active"] is True
    assert (told["sub"], told["client_id"], told["iss"], told["token_type"]) == (sub, HUB, ISSUER, "Bearer")
    assert (told["exp"], told["scope"], told["aud"]) == (claims["exp"], claims["scope"], claims["aud"])
    refresh = (await stage.introspect(hub, body["refresh_token"])).json()
    assert (refresh["active"], refresh["client_id"], refresh["sub"]) == (True, HUB, sub)


async def test_a_resource_asks_through_the_client_that_it_names(stage: Stage) -> None:
    hub = await stage.register()
    api = await stage.register(client_id="com.tourbus/api")
    await stage.add_resources(callers=("client:com.tourbus/api",))
    body = await stage.tokens(hub, await stage.user())
    assert (await stage.introspect(api, body["access_token"])).json()["active"] is True
    assert (await stage.introspect(api, body["refresh_token"])).json() == {"active": False}


async def test_nobody_else_learns_anything(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    other = await stage.register(client_id=OTHER)
    spa = await stage.register(PUBLIC, SPA)
    body = await stage.tokens(hub, await stage.user())
    for token in (body["access_token"], body["refresh_token"], body["id_token"], "nonsense", "a.b.c"):
        assert (await stage.introspect(other, token)).json() == {"active": False}
    answer = await stage.introspect(spa, body["access_token"])
    assert (answer.status_code, error(answer)) == (401, "invalid_client")
    other.secret = "wrong" * 9
    assert (await stage.introspect(other, body["access_token"])).status_code == 401


async def test_what_is_not_active(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())
    token = body["access_token"]
    assert (await stage.introspect(hub, body["id_token"])).json() == {"active": False}
    assert (await stage.introspect(hub, token[:-4] + "AAAA")).json() == {"active": False}
    stage.clock.ahead += timedelta(hours=2)
    assert (await stage.introspect(hub, token)).json() == {"active": False}


async def test_introspection_knows_at_once(stage: Stage) -> None:
    """An answer is as of the head of the log, however far the feed has come."""
    hub = await stage.register(resources=True)
    caller = await stage.register(client_id="com.tourbus/api")
    resources = stage.issuer.questions
    await stage.follow()
    sub = await stage.user()
    for _ in range(5):
        body = await stage.tokens(hub, sub)
        assert (await stage.introspect(hub, body["access_token"])).json()["active"] is True
        assert (await stage.revoke(hub, body["access_token"])).status_code == 200
        assert (await stage.introspect(hub, body["access_token"])).json() == {"active": False}
    assert (await resources.known(caller.client_id)).application is not None


async def test_a_refresh_token_is_inactive_before_its_end_has_been_heard_of(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    token = (await stage.tokens(hub, sub))["refresh_token"]
    for fact, active in ((UserDisabled(sub=sub, reason=""), False), (UserEnabled(sub=sub), True)):
        await stage.of_user(sub, fact)
        assert (await stage.introspect(hub, token)).json()["active"] is active
    await stage.of_user(sub, PasswordReset(sub=sub))
    assert (await stage.introspect(hub, token)).json() == {"active": False}


async def test_a_token_can_be_revoked_for_as_long_as_anybody_accepts_it(stage: Stage) -> None:
    """A check allows for clocks that differ, so a token lives a few seconds longer than it says."""
    hub = await stage.register(resources=True)
    sub = await stage.user()
    by_client, by_id = [(await stage.tokens(hub, sub))["access_token"] for _ in range(2)]
    claims = jwt.decode(by_id, options={"verify_signature": False})
    stage.clock.ahead += timedelta(seconds=claims["exp"] - stage.clock().timestamp() + 0.5)
    assert isinstance(await stage.validate(by_client), Allowed)
    assert isinstance(await stage.validate(by_id), Allowed)
    assert (await stage.revoke(hub, by_client)).status_code == 200
    await revoke_by_id(stage.issuer, claims["jti"], Context("user:brian", new_id(), new_command_id()))
    for token in (by_client, by_id):
        verdict = await stage.validate(token)
        assert isinstance(verdict, Denied)
        assert verdict.reason is Reason.DENIED_TOKEN


async def test_an_access_token_is_revoked_and_its_grant_goes_on(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())
    answer = await stage.revoke(hub, body["access_token"], token_type_hint="access_token")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["stagedoor-position"]) > 0
    verdict = await stage.validate(body["access_token"])
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.DENIED_TOKEN
    again = (await stage.refresh(hub, body["refresh_token"])).json()
    assert isinstance(await stage.validate(again["access_token"]), Allowed)
    assert (await stage.revoke(hub, body["access_token"])).status_code == 200
    assert len(await stage.facts(AccessTokenRevoked)) == 1


@pytest.mark.parametrize("hint", ["refresh_token", "access_token", "made_up"])
async def test_a_refresh_token_takes_everything_along(stage: Stage, hint: str) -> None:
    hub = await stage.register(POST, resources=True)
    hub_form = {"client_id": HUB, "client_secret": hub.secret or ""}
    form = {
        "grant_type": "authorization_code",
        "code": await stage.code(hub, await stage.user()),
        "redirect_uri": hub.redirect_uri,
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    }
    body = (await stage.http.post("/id/connect/token", data={**hub_form, **form})).json()
    revocation = {**hub_form, "token": body["refresh_token"], "token_type_hint": hint}
    assert (await stage.http.post("/id/connect/revocation", data=revocation)).status_code == 200
    assert isinstance(await stage.validate(body["access_token"]), Denied)
    (ended,) = await stage.facts(GrantEnded)
    assert isinstance(ended, GrantEnded)
    assert ended.reason is GrantEndReason.REFRESH_TOKEN_REVOKED


async def test_a_used_refresh_token_revokes_as_well_and_an_invented_one_does_not(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())
    first = body["refresh_token"]
    second = (await stage.refresh(hub, first)).json()["refresh_token"]
    third = (await stage.refresh(hub, second)).json()["refresh_token"]
    assert (await stage.revoke(hub, first[:-43] + "A" * 43)).status_code == 200
    assert (await stage.introspect(hub, third)).json()["active"] is True
    assert (await stage.revoke(hub, first)).status_code == 200
    assert (await stage.introspect(hub, third)).json() == {"active": False}


async def test_a_public_client_revokes_its_own(stage: Stage) -> None:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    body = await stage.tokens(spa, await stage.user())
    assert (await stage.revoke(spa, body["access_token"])).status_code == 200
    assert isinstance(await stage.validate(body["access_token"]), Denied)


async def test_nobody_revokes_anothers(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    other = await stage.register(client_id=OTHER)
    body = await stage.tokens(hub, await stage.user())
    for token in (body["access_token"], body["refresh_token"]):
        assert error(await stage.revoke(other, token)) == "unauthorized_client"
    assert isinstance(await stage.validate(body["access_token"]), Allowed)
    assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200


async def test_what_is_unknown_is_revoked_already(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())
    for token in (
        "nonsense",
        "a.b.c",
        body["id_token"],
        f"sdr_{'a' * 22}.{'b' * 43}",
        body["access_token"][:-4] + "AAAA",
    ):
        answer = await stage.revoke(hub, token)
        assert (answer.status_code, "stagedoor-position" in answer.headers) == (200, False)
    assert error(await stage.revoke(hub, "")) == "invalid_request"


async def test_a_disabled_application_asks_and_revokes_nothing(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    body = await stage.tokens(hub, await stage.user())
    await stage.of_application(ApplicationDisabled(client_id=HUB, reason=""))
    await stage.follow()
    assert error(await stage.introspect(hub, body["access_token"])) == "invalid_client"
    assert error(await stage.revoke(hub, body["access_token"])) == "invalid_client"


async def test_an_administrator_revokes_by_id(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    context = Context("user:brian", new_id(), new_command_id())
    code = await stage.tokens(hub, await stage.user())
    service = (await stage.token(hub, grant_type="client_credentials")).json()
    for body in (code, service):
        claims = jwt.decode(body["access_token"], options={"verify_signature": False})
        position = await revoke_by_id(stage.issuer, claims["jti"], Context("user:brian", new_id(), new_command_id()))
        assert position > claims["pos"]
        assert isinstance(await stage.validate(body["access_token"]), Denied)
        (revoked,) = [e for e in await stage.facts(AccessTokenRevoked) if e.jti == claims["jti"]]  # type: ignore[attr-defined]
        assert isinstance(revoked, AccessTokenRevoked)
        assert revoked.client_id == HUB
        assert abs(revoked.token_ends_at.timestamp() - claims["exp"]) <= 1
    with pytest.raises(Refusal) as refused:
        await revoke_by_id(stage.issuer, new_id(), context)
    assert refused.value.code == "token_not_found"
