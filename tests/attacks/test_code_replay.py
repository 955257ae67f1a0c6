"""Authorization codes used a second time (RFC 6749 section 10.5)."""

import asyncio

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


async def test_many_at_once_are_one_success_and_the_end(stage: Stage) -> None:
    hub = await stage.register(resources=True)
    code = await stage.code(hub, await stage.user())
    answers = await asyncio.gather(*(stage.redeem(hub, code) for _ in range(10)))
    won = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    assert {error(answer) for answer in answers if answer.status_code != 200} == {"invalid_grant"}
    assert isinstance(await stage.validate(won[0]["access_token"]), Denied)
    assert error(await stage.refresh(hub, won[0]["refresh_token"])) == "invalid_grant"
