"""Authorization codes used a second time (RFC 6749 section 10.5)."""

from stagedoor import Denied
from tests.support.issuing import Stage, error


async def test_a_replayed_code_takes_everything_back(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    body = (await stage.redeem(hub, code)).json()
    body = (await stage.refresh(hub, body["refresh_token"])).json()
    assert error(await stage.redeem(hub, code)) == "invalid_grant"
    assert isinstance(await stage.validate(body["access_token"]), Denied)
    assert error(await stage.refresh(hub, body["refresh_token"])) == "invalid_grant"
