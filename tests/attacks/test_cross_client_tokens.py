"""Tokens in the hands of another client."""

from services.token_issuer.events import GrantEnded
from stagedoor import Allowed
from tests.support.issuing import PUBLIC, SPA, Client, Stage, error

MALLORY = "com.mallory/app"


async def begin(stage: Stage) -> tuple[Client, str, str]:
    spa = await stage.register(PUBLIC, SPA, resources=True)
    body = await stage.tokens(spa, await stage.user())
    return spa, body["refresh_token"], body["access_token"]


async def test_another_client_cannot_use_it_or_end_it(stage: Stage) -> None:
    spa, token, _ = await begin(stage)
    mallory = await stage.register(client_id=MALLORY)
    for _ in range(2):
        assert error(await stage.refresh(mallory, token)) == "invalid_grant"
    assert error(await stage.revoke(mallory, token)) == "unauthorized_client"
    assert (await stage.introspect(mallory, token)).json() == {"active": False}
    second = (await stage.refresh(spa, token)).json()["refresh_token"]
    third = (await stage.refresh(spa, second)).json()["refresh_token"]
    assert error(await stage.refresh(mallory, token)) == "invalid_grant"
    assert (await stage.refresh(spa, third)).status_code == 200
    assert await stage.facts(GrantEnded) == []


async def test_an_access_token_of_another_client(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    mallory = await stage.register(client_id=MALLORY)
    token = (await stage.tokens(hub, await stage.user()))["access_token"]
    assert (await stage.introspect(mallory, token)).json() == {"active": False}
    assert error(await stage.revoke(mallory, token)) == "unauthorized_client"
    assert isinstance(await stage.validate(token), Allowed)
    assert (await stage.introspect(hub, token)).json()["active"]


async def test_who_only_says_to_be_the_client(stage: Stage) -> None:
    """A confidential application is nobody without its secret; a public one is not asked about tokens at all."""
    hub = await stage.register(resources=True)
    spa = await stage.register(PUBLIC, SPA)
    sub = await stage.user()
    for client, token in ((hub, (await stage.tokens(hub, sub))["access_token"]), (spa, "x")):
        form = {"token": token, "client_id": client.client_id}
        assert error(await stage.http.post("/id/connect/introspect", data=form)) == "invalid_client"
    form = {"token": token, "client_id": hub.client_id}
    assert error(await stage.http.post("/id/connect/revocation", data=form)) == "invalid_client"
