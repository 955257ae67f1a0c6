"""Stolen refresh tokens (RFC 9700 section 4.14)."""

from datetime import timedelta

from services.token_issuer.events import GrantEnded
from stagedoor import Denied
from tests.support.issuing import PUBLIC, SPA, Client, Stage, error

GRACE = timedelta(seconds=11)


async def begin(stage: Stage) -> tuple[Client, str, str]:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    body = await stage.tokens(spa, await stage.user())
    return spa, body["refresh_token"], body["access_token"]


async def test_the_thief_is_first(stage: Stage) -> None:
    spa, stolen, access_token = await begin(stage)
    thief = (await stage.refresh(spa, stolen)).json()
    stage.clock.ahead += GRACE
    assert error(await stage.refresh(spa, stolen)) == "invalid_grant"
    assert error(await stage.refresh(spa, thief["refresh_token"])) == "invalid_grant"
    for token in (access_token, thief["access_token"]):
        assert isinstance(await stage.validate(token), Denied)


async def test_the_thief_is_second(stage: Stage) -> None:
    spa, stolen, _ = await begin(stage)
    owner = (await stage.refresh(spa, stolen)).json()
    stage.clock.ahead += GRACE
    assert error(await stage.refresh(spa, stolen)) == "invalid_grant"
    assert error(await stage.refresh(spa, owner["refresh_token"])) == "invalid_grant"
    assert isinstance(await stage.validate(owner["access_token"]), Denied)


async def test_the_thief_comes_much_later_with_a_much_older_one(stage: Stage) -> None:
    spa, stolen, _ = await begin(stage)
    current = stolen
    for _ in range(10):
        current = (await stage.refresh(spa, current)).json()["refresh_token"]
    stage.clock.ahead += timedelta(hours=3)
    assert error(await stage.refresh(spa, stolen)) == "invalid_grant"
    assert len(await stage.facts(GrantEnded)) == 1
    assert error(await stage.refresh(spa, current)) == "invalid_grant"


async def test_the_thief_within_the_grace_gets_no_second_chain(stage: Stage) -> None:
    spa, stolen, _ = await begin(stage)
    owner = (await stage.refresh(spa, stolen)).json()
    thief = (await stage.refresh(spa, stolen)).json()
    assert thief["refresh_token"] == owner["refresh_token"]
    (await stage.refresh(spa, thief["refresh_token"])).raise_for_status()
    stage.clock.ahead += GRACE
    assert error(await stage.refresh(spa, owner["refresh_token"])) == "invalid_grant"
    assert len(await stage.facts(GrantEnded)) == 1


async def test_a_confidential_clients_token_needs_its_secret(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    token = (await stage.tokens(hub, await stage.user()))["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": hub.client_id}
    assert error(await stage.http.post("/id/connect/token", data=form)) == "invalid_client"
    assert error(await stage.http.post("/id/connect/revocation", data={**form, "token": token})) == "invalid_client"
    assert (await stage.refresh(hub, token)).status_code == 200


async def test_knowing_the_grant_is_not_enough_to_end_it(stage: Stage) -> None:
    """`gid` stands in every access token, so every resource knows it."""
    spa, token, _ = await begin(stage)
    head = token.partition(".")[0]
    current = (await stage.refresh(spa, token)).json()["refresh_token"]
    for secret in ("A" * 43, token.partition(".")[2][::-1], current.partition(".")[2][::-1]):
        assert error(await stage.refresh(spa, f"{head}.{secret}")) == "invalid_grant"
        assert (await stage.revoke(spa, f"{head}.{secret}")).status_code == 200
    assert (await stage.refresh(spa, current)).status_code == 200


async def test_a_scope_cannot_grow(stage: Stage) -> None:
    spa, token, _ = await begin(stage)
    for scope in ("openid read update", "sec", "read email", "offline_access read sec"):
        assert error(await stage.refresh(spa, token, scope=scope)) == "invalid_scope"
    assert (await stage.refresh(spa, token)).json()["scope"] == "openid read offline_access"
