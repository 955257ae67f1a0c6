"""A secret that was revoked a moment ago, shown to an issuer that has not heard of it."""

import asyncio

from services.registry import events as registry
from services.token_issuer.events import AccessTokenIssued, CodeRedeemed, RefreshTokenRotated
from shared.ids import digest
from stagedoor import Allowed
from tests.support.issuing import HUB, Client, Stage, error

OFFLINE = "openid offline_access read"


async def two_secrets(stage: Stage) -> tuple[Client, str]:
    """BackstageHub, which shows its first secret, and its second one; the issuer knows both."""
    hub = await stage.register(resources=True)
    added = registry.SecretAdded(client_id=HUB, secret_id="2", secret_digest=digest("n" * 43))
    await stage.of_application(added)
    await stage.follow()
    return hub, "n" * 43


async def revoke_the_second(stage: Stage) -> None:
    await stage.of_application(registry.SecretRevoked(client_id=HUB, secret_id="2"))


async def test_it_gives_no_token(stage: Stage) -> None:
    hub, second = await two_secrets(stage)
    first, hub.secret = hub.secret, second
    assert (await stage.token(hub, grant_type="client_credentials")).status_code == 200
    issued = len(await stage.facts(AccessTokenIssued))
    await revoke_the_second(stage)
    answers = await asyncio.gather(*(stage.token(hub, grant_type="client_credentials") for _ in range(5)))
    assert {error(answer) for answer in answers} == {"invalid_client"}
    assert len(await stage.facts(AccessTokenIssued)) == issued
    hub.secret = first
    assert (await stage.token(hub, grant_type="client_credentials")).status_code == 200


async def test_it_redeems_no_code_and_leaves_it_to_whoever_has_the_other(stage: Stage) -> None:
    hub, second = await two_secrets(stage)
    code = await stage.code(hub, await stage.user(), scope=OFFLINE)
    first, hub.secret = hub.secret, second
    await revoke_the_second(stage)
    assert error(await stage.redeem(hub, code)) == "invalid_client"
    assert await stage.facts(CodeRedeemed) == []
    hub.secret = first
    assert (await stage.redeem(hub, code)).status_code == 200


async def test_it_refreshes_nothing_and_the_grant_goes_on_with_the_other(stage: Stage) -> None:
    hub, second = await two_secrets(stage)
    body = await stage.tokens(hub, await stage.user(), scope=OFFLINE)
    first, hub.secret = hub.secret, second
    await revoke_the_second(stage)
    assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_client"
    assert await stage.facts(RefreshTokenRotated) == []
    hub.secret = first
    assert (await stage.refresh(hub, body["refresh_token"])).status_code == 200


async def test_tokens_that_were_given_before_stay(stage: Stage) -> None:
    hub, second = await two_secrets(stage)
    hub.secret = second
    token = (await stage.token(hub, grant_type="client_credentials")).json()["access_token"]
    await revoke_the_second(stage)
    assert isinstance(await stage.validate(token), Allowed)
