"""Refresh tokens: rotation, a moment's grace, theft, and what stops or resumes a grant."""

import asyncio
from datetime import timedelta
from typing import Any

import jwt
import pytest
from msgspec import to_builtins

from services.identity import events as identity
from services.identity.events import Role, UserKind
from services.registry import events as registry
from services.registry.events import GrantType
from services.token_issuer.clients import presented
from services.token_issuer.events import GrantEnded, GrantEndReason, RefreshTokenRotated
from services.token_issuer.grants import refresh_token
from shared.http.forms import single
from shared.log.event import Event
from stagedoor import Allowed, Denied
from tests.support.issuing import API, CONFIDENTIAL, HUB, PUBLIC, SPA, Client, Stage, error, replica
from tests.support.postgres import Database


def claims(body: dict[str, Any]) -> dict[str, Any]:
    return dict(jwt.decode(body["access_token"], options={"verify_signature": False}))


async def start(stage: Stage, **changes: str) -> tuple[Client, str, dict[str, Any]]:
    hub = await stage.register(resources=True)
    sub = await stage.user()
    return hub, sub, await stage.tokens(hub, sub, **changes)


async def test_a_refresh_gives_new_tokens(stage: Stage) -> None:
    hub, sub, first = await start(stage)
    answer = await stage.refresh(hub, first["refresh_token"])
    assert answer.status_code == 200
    second = answer.json()
    assert second["refresh_token"] != first["refresh_token"]
    before, after = claims(first), claims(second)
    assert (after["sub"], after["gid"], after["sid"]) == (sub, before["gid"], before["sid"])
    assert after["jti"] != before["jti"]
    assert after["pos"] > before["pos"]
    assert "nonce" not in jwt.decode(second["id_token"], options={"verify_signature": False})
    for body in (first, second):
        assert isinstance(await stage.validate(body["access_token"]), Allowed)


async def test_a_retry_gets_the_same_answer_from_any_replica(stage: Stage, database: Database) -> None:
    hub, _, first = await start(stage)
    one = (await stage.refresh(hub, first["refresh_token"])).json()
    other, _ = await replica(database, stage.clock)
    await other.keys.prepare()
    headers = [hub.headers()["Authorization"]]
    form = single([("grant_type", "refresh_token"), ("refresh_token", first["refresh_token"])])
    two = to_builtins(await refresh_token.refresh(other, presented(headers, form), form))
    assert two["refresh_token"] == one["refresh_token"]
    assert claims(two) == claims(one)
    assert len(await stage.facts(RefreshTokenRotated)) == 1


async def test_many_retries_at_once_are_one_rotation(stage: Stage) -> None:
    hub, _, first = await start(stage)
    answers = await asyncio.gather(*(stage.refresh(hub, first["refresh_token"]) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    bodies = [answer.json() for answer in answers]
    assert len({body["refresh_token"] for body in bodies}) == 1
    assert len({tuple(claims(body)[name] for name in ("jti", "pos", "iat", "exp")) for body in bodies}) == 1
    assert len(await stage.facts(RefreshTokenRotated)) == 1
    assert await stage.facts(GrantEnded) == []


async def test_a_retry_after_the_grace_is_theft(stage: Stage) -> None:
    hub, _, first = await start(stage)
    second = (await stage.refresh(hub, first["refresh_token"])).json()
    stage.clock.ahead += timedelta(seconds=11)
    assert error(await stage.refresh(hub, first["refresh_token"])) == "invalid_grant"
    (ended,) = await stage.facts(GrantEnded)
    assert isinstance(ended, GrantEnded)
    assert ended.reason is GrantEndReason.REFRESH_TOKEN_REUSED
    assert error(await stage.refresh(hub, second["refresh_token"])) == "invalid_grant"
    for body in (first, second):
        assert isinstance(await stage.validate(body["access_token"]), Denied)


async def test_a_retry_after_the_successor_was_used_is_theft_at_once(stage: Stage) -> None:
    hub, _, first = await start(stage)
    second = (await stage.refresh(hub, first["refresh_token"])).json()
    third = (await stage.refresh(hub, second["refresh_token"])).json()
    assert error(await stage.refresh(hub, first["refresh_token"])) == "invalid_grant"
    assert error(await stage.refresh(hub, third["refresh_token"])) == "invalid_grant"
    assert len(await stage.facts(GrantEnded)) == 1


async def test_an_invented_refresh_token_ends_nothing(stage: Stage) -> None:
    hub, _, first = await start(stage)
    second = (await stage.refresh(hub, first["refresh_token"])).json()
    invented = second["refresh_token"][:-43] + "A" * 43
    assert error(await stage.refresh(hub, invented)) == "invalid_grant"
    assert (await stage.refresh(hub, second["refresh_token"])).status_code == 200


async def test_narrowing_is_for_one_token(stage: Stage) -> None:
    hub, _, first = await start(stage)
    narrow = (await stage.refresh(hub, first["refresh_token"], scope="read")).json()
    assert narrow["scope"] == "read"
    assert "id_token" not in narrow
    assert claims(narrow)["aud"] == [API]
    wide = (await stage.refresh(hub, narrow["refresh_token"])).json()
    assert wide["scope"] == first["scope"]
    assert error(await stage.refresh(hub, wide["refresh_token"], scope="read update")) == "invalid_scope"


async def test_the_lifetime_is_absolute(stage: Stage) -> None:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    body = await stage.tokens(spa, await stage.user())
    stage.clock.ahead += timedelta(hours=23)
    body = (await stage.refresh(spa, body["refresh_token"])).json()
    stage.clock.ahead += timedelta(hours=1, seconds=1)
    assert error(await stage.refresh(spa, body["refresh_token"])) == "invalid_grant"
    assert await stage.facts(GrantEnded) == []


async def test_without_offline_access_there_is_no_refresh_token(stage: Stage) -> None:
    _, _, body = await start(stage, scope="openid read")
    assert "refresh_token" not in body


async def test_what_is_disabled_gets_nothing_and_resumes(stage: Stage) -> None:
    hub, sub, body = await start(stage)
    await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason=""))
    answer = await stage.refresh(hub, body["refresh_token"])
    assert (answer.status_code, error(answer)) == (401, "invalid_client")
    await stage.of_application(registry.ApplicationEnabled(client_id=HUB))
    body = (await stage.refresh(hub, body["refresh_token"])).json()
    await stage.of_user(sub, identity.UserDisabled(sub=sub, reason=""))
    assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_grant"
    await stage.of_user(sub, identity.UserEnabled(sub=sub))
    await stage.follow()
    assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200


async def test_a_retry_is_not_answered_past_a_denial_that_was_not_heard_of(stage: Stage) -> None:
    """It appends nothing, so there is no fence that would tell."""
    hub, sub, body = await start(stage)
    assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200
    await stage.of_user(sub, identity.UserDisabled(sub=sub, reason=""))
    assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_grant"
    await stage.of_user(sub, identity.UserEnabled(sub=sub))
    await stage.follow()
    assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200
    await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason=""))
    assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_client"
    assert await stage.facts(GrantEnded) == []


LESS = CONFIDENTIAL.model_copy(update={"scopes": ("update",)})


@pytest.mark.parametrize(
    "what",
    [
        "narrowed",
        "compromised",
        "password reset",
        "password changed",
        "consent withdrawn",
        "session ended",
        "role removed",
    ],
)
async def test_what_cuts_a_grant_off(stage: Stage, what: str) -> None:
    """For each it makes no difference whether the issuer has heard of it: the fence tells."""
    hub, sub, body = await start(stage)
    sid = claims(body)["sid"]
    end = stage.clock()
    cuts: dict[str, tuple[str, Event]] = {
        "narrowed": (f"application-{HUB}", registry.ApplicationChanged(client_id=HUB, settings=LESS, narrowed=True)),
        "compromised": (f"application-{HUB}", registry.SecretReportedCompromised(client_id=HUB, secret_id="other")),
        "password reset": (f"user-{sub}", identity.PasswordReset(sub=sub)),
        "password changed": (f"user-{sub}", identity.PasswordChanged(sub=sub, kept_session="another")),
        "consent withdrawn": (f"consent-{sub}.{HUB}", identity.ConsentWithdrawn(sub=sub, client_id=HUB)),
        "session ended": (
            f"session-{sid}",
            identity.SessionEnded(sub=sub, sid=sid, reason=identity.SessionEndReason.SIGNED_OUT, tokens_end_at=end),
        ),
        "role removed": (f"user-{sub}", identity.RolesChanged(sub=sub, roles=(), removed=(Role.AUDITOR,))),
    }
    stream, fact = cuts[what]
    await stage.write(stage.registry if fact.source == "registry" else stage.identity, stream, fact)
    for _ in range(2):
        assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_grant"
        await stage.follow()


async def test_a_password_changed_in_the_session_itself_leaves_its_grants(stage: Stage) -> None:
    hub, sub, body = await start(stage)
    await stage.of_user(sub, identity.PasswordChanged(sub=sub, kept_session=claims(body)["sid"]))
    await stage.follow()
    assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200


async def test_scopes_are_those_of_now(stage: Stage) -> None:
    """A setting that narrows nothing by itself can still take a scope away: a resource loses it."""
    hub, _, body = await start(stage, scope="openid read update offline_access")
    event = registry.ResourceChanged(
        resource_id=(
            await stage.issuer.log.pool.fetchval(
                "SELECT resource_id FROM token_issuer.resources WHERE identifier = $1", API
            )
        ),
        settings=registry.ResourceSettings(
            display_name="API", scopes=(registry.Scope(name="update", description="update your tours"),)
        ),
    )
    await stage.write(stage.registry, "resource-catalogue", event)
    await stage.follow()
    after = (await stage.refresh(hub, body["refresh_token"])).json()
    assert after["scope"] == "openid update offline_access"


async def test_a_community_user_loses_what_the_resource_no_longer_admits(stage: Stage) -> None:
    hub = await stage.register()
    await stage.add_resources(community=True)
    body = await stage.tokens(hub, await stage.user(UserKind.COMMUNITY))
    assert body["scope"] == "openid read offline_access"
    identifier = await stage.issuer.log.pool.fetchval(
        "SELECT resource_id FROM token_issuer.resources WHERE identifier = $1", API
    )
    closed = registry.ResourceSettings(
        display_name="API", scopes=(registry.Scope(name="read", description="read your tours"),)
    )
    await stage.write(
        stage.registry, "resource-catalogue", registry.ResourceChanged(resource_id=identifier, settings=closed)
    )
    await stage.follow()
    after = (await stage.refresh(hub, body["refresh_token"])).json()
    assert after["scope"] == "openid offline_access"
    assert API not in claims(after)["aud"]


async def test_the_grant_type_has_to_be_the_applications(stage: Stage) -> None:
    hub, _, body = await start(stage)
    without = CONFIDENTIAL.model_copy(update={"grants": (GrantType.AUTHORIZATION_CODE,)})
    await stage.of_application(registry.ApplicationChanged(client_id=HUB, settings=without, narrowed=False))
    await stage.follow()
    assert error(await stage.refresh(hub, body["refresh_token"])) == "unauthorized_client"
