"""Tokens in the hands of another client."""

from services.token_issuer.events import GrantEnded
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
