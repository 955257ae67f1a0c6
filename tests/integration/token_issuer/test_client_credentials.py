"""Client credentials: an application acts for itself."""

import asyncio
from typing import Any

import jwt
import pytest

from services.identity import events as identity
from services.identity.events import Role, UserKind
from services.registry import events as registry
from services.registry.events import GrantType
from services.token_issuer.events import AccessTokenIssued
from shared.ids import digest
from stagedoor import Allowed, Denied
from tests.support.issuing import API, CONFIDENTIAL, HUB, MANAGEMENT, PUBLIC, SPA, Client, Stage, error
from tests.support.postgres import Database

SERVICE = CONFIDENTIAL.model_copy(update={"grants": (GrantType.CLIENT_CREDENTIALS,), "redirect_uris": ()})


async def ask(stage: Stage, client: Client, **form: str) -> dict[str, Any]:
    answer = await stage.token(client, grant_type="client_credentials", **form)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def refused(stage: Stage, client: Client, **form: str) -> str:
    return error(await stage.token(client, grant_type="client_credentials", **form))


async def test_a_token_for_the_application_itself(stage: Stage) -> None:
    hub = await stage.register(SERVICE, resources=True)
    body = await ask(stage, hub)
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["expires_in"], body["scope"]) == (3600, "read update")
    verdict = await stage.validate(body["access_token"])
    assert isinstance(verdict, Allowed)
    assert (verdict.sub, verdict.client_id, verdict.sid, verdict.gid) == (HUB, HUB, None, None)
    (issued,) = await stage.facts(AccessTokenIssued)
    assert isinstance(issued, AccessTokenIssued)
    assert issued.jti == verdict.jti


async def test_as_its_service_account(stage: Stage) -> None:
    account = await stage.user(UserKind.SERVICE)
    hub = await stage.register(SERVICE.model_copy(update={"service_account": account}), resources=True)
    body = await ask(stage, hub, scope="read")
    assert jwt.decode(body["access_token"], options={"verify_signature": False})["sub"] == account
    await stage.of_user(account, identity.UserDisabled(sub=account, reason=""))
    assert await refused(stage, hub) == "unauthorized_client"
    assert isinstance(await stage.validate(body["access_token"]), Denied)


async def test_never_as_a_person(stage: Stage) -> None:
    freddie = await stage.user(UserKind.INTERNAL)
    hub = await stage.register(SERVICE.model_copy(update={"service_account": freddie}), resources=True)
    assert await refused(stage, hub) == "unauthorized_client"
    other = await stage.register(SERVICE.model_copy(update={"service_account": "nobody"}), "com.merchsync/service")
    assert await refused(stage, other) == "unauthorized_client"


@pytest.mark.parametrize("scope", ["openid", "read offline_access", "read profile", "sec", "erase", "read\u00e9"])
async def test_scopes_that_it_cannot_have(stage: Stage, scope: str) -> None:
    hub = await stage.register(SERVICE, resources=True)
    assert await refused(stage, hub, scope=scope) == "invalid_scope"


async def test_management_needs_an_account_with_a_role(stage: Stage) -> None:
    both = {"scopes": ("sec", "read")}
    plain = await stage.register(SERVICE.model_copy(update=both), resources=True)
    assert await refused(stage, plain, scope="sec") == "invalid_scope"
    assert (await ask(stage, plain))["scope"] == "read"
    account = await stage.user(UserKind.SERVICE, Role.ADMINISTRATOR)
    manager = await stage.register(SERVICE.model_copy(update={**both, "service_account": account}), "com.roadie/ops")
    claims = jwt.decode((await ask(stage, manager, scope="sec"))["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["roles"]) == ([MANAGEMENT], ["administrator"])


async def test_who_may_not(stage: Stage) -> None:
    spa = await stage.register(PUBLIC.model_copy(update={"grants": tuple(GrantType)}), SPA, resources=True)
    assert await refused(stage, spa) == "unauthorized_client"
    web = await stage.register(CONFIDENTIAL.model_copy(update={"grants": (GrantType.AUTHORIZATION_CODE,)}))
    assert await refused(stage, web) == "unauthorized_client"


async def test_a_resource_of_several(stage: Stage) -> None:
    hub = await stage.register(SERVICE, resources=True)
    assert (await ask(stage, hub, resource=API))["scope"] == "read update"
    assert await refused(stage, hub, resource=MANAGEMENT) == "invalid_scope"
    assert await refused(stage, hub, resource="https://unknown.example/api") == "invalid_target"
    assert await refused(stage, hub, resource="nonsense\r\n") == "invalid_target"


async def test_an_application_registered_a_moment_ago_gets_its_token(stage: Stage) -> None:
    """Nobody has told the issuer: it looks for what it does not know, once."""
    hub = await stage.register(SERVICE, resources=True)
    assert (await ask(stage, hub))["scope"] == "read update"
    before = hub.secret
    hub.secret = "n" * 43
    added = registry.SecretAdded(client_id=HUB, secret_id="2", secret_digest=digest(hub.secret))
    await stage.of_application(added)
    assert (await ask(stage, hub))["scope"] == "read update"
    await stage.of_application(registry.SecretRevoked(client_id=HUB, secret_id="2"))
    await stage.follow()
    assert await refused(stage, hub) == "invalid_client"
    hub.secret = before
    assert (await ask(stage, hub))["scope"] == "read update"


async def test_who_may_have_been_registered_is_not_refused_while_that_cannot_be_known(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is read, but the view cannot be written: a standby is gone, say, that every commit waits for."""
    hub = await stage.register(SERVICE, resources=True)
    async with database.connection() as connection, connection.transaction():
        await connection.execute("LOCK TABLE token_issuer.checkpoints IN EXCLUSIVE MODE")
        monkeypatch.setattr("shared.messaging.follower.WAIT_SECONDS", 0.3)
        answer = await stage.token(hub, grant_type="client_credentials")
        assert (answer.status_code, error(answer)) == (503, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        monkeypatch.undo()
    assert (await ask(stage, hub))["scope"] == "read update"


async def test_a_kill_switch_that_nobody_has_heard_of_stops_it(stage: Stage) -> None:
    hub = await stage.register(SERVICE, resources=True)
    await ask(stage, hub)
    await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason="stolen"))
    issued = len(await stage.facts(AccessTokenIssued))
    answers = await asyncio.gather(*(refused(stage, hub) for _ in range(10)))
    assert set(answers) == {"invalid_client"}
    assert len(await stage.facts(AccessTokenIssued)) == issued
