"""Header fields that are not those which a proxy sets, until the resource behind it reads them.

Many servers of applications (CGI, RFC 3875 section 4.1.18; WSGI, PEP 3333; PHP) tell `X_Stagedoor_Sub` and
`X-Stagedoor-Sub` apart no more. Whoever sends the one beside a token of their own would be whom they like.
"""

import httpx
import pytest

from services.token_issuer.audiences import AudienceCallers
from services.token_issuer.gateway import Asked, Gateway, Passed, Stopped, judge_by
from tests.integration.token_issuer.test_forward_auth import Proxy
from tests.integration.token_issuer.test_forward_auth import proxy as proxy  # noqa: PLC0414  (a fixture)
from tests.support.issuing import API, HUB, Stage
from tests.support.protected import token

SPELLINGS = (
    "x_stagedoor_sub",
    "x-stagedoor_sub",
    "x_stagedoor-sub",
    "x.stagedoor.sub",
    "x-stagedoor.client-id",
    "x_stagedoor_roles",
    "x_api_key",
)


@pytest.fixture
def gateway(stage: Stage) -> Gateway:
    return Gateway(
        judge_by(stage.guard, stage.references), AudienceCallers(stage.issuer.log.pool, stage.issuer.policy.places)
    )


async def asked(gateway: Gateway, shown: str, *more: tuple[str, str]) -> Passed | Stopped:
    """What a proxy is told of a request with this token."""
    headers = (("authorization", f"Bearer {shown}"), *more)
    return await gateway.decide(Asked("service/proxy", API, ("read",), headers, "/tours"))


async def test_whoever_sends_one_is_refused(stage: Stage, gateway: Gateway) -> None:
    shown = await token(stage)
    for name in SPELLINGS:
        outcome = await asked(gateway, shown, (name, "sub-brian"))
        assert isinstance(outcome, Stopped), name
        assert (outcome.status, outcome.error) == (400, "invalid_request")
        assert "sub-brian" not in outcome.description


async def test_others_go_through(stage: Stage, gateway: Gateway) -> None:
    shown = await token(stage)
    outcome = await asked(gateway, shown, ("x_request_id", "1"), ("x-stagedoor-sub", "sub-brian"), ("x-api", "1"))
    assert isinstance(outcome, Passed)
    assert outcome.headers["x-stagedoor-sub"] == HUB


async def test_by_way_of_a_proxy_none_comes_to_the_resource(stage: Stage, proxy: Proxy) -> None:
    shown = await token(stage)
    sent = {"Authorization": f"Bearer {shown}"}
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{proxy.port}") as client:
        honest = await client.get("/tours", headers=sent)
        assert honest.json()["headers"]["x-stagedoor-sub"] == HUB
        for name in SPELLINGS:
            answer = await client.get("/tours", headers={**sent, name: "sub-brian"})
            assert answer.status_code in (200, 400), name
            assert "sub-brian" not in answer.text, name
