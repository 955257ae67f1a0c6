"""Modules of `oidcc-basic-certification-test-plan` that no other test has, by their names, against the running system.

`docs/conformance.md` says which test has which module.
"""

import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from tests.story import claims

HUB = "com.backstagehub/app"
FREDDIE = ("freddie", "a-kind-of-magic-1986")


class Suite:
    """BackstageHub in the suite's part."""

    def __init__(self, system: System) -> None:
        (known,) = [one for one in system.demo["applications"] if one["client_id"] == HUB]
        self.issuer = system.ports.issuer
        self.secret = known["client_secret"]
        self.redirect_uri = known["redirect_uris"][0]

    def flow(self, scope: str = "openid", **more: str) -> CodeFlow:
        """An authorization request."""
        return CodeFlow(self.issuer, HUB, self.redirect_uri, scope, more)

    async def sign_in(self, freddie: Visitor, scope: str = "openid", **more: str) -> dict[str, Any]:
        """What it gives."""
        flow = self.flow(scope, **more)
        code = flow.code(await freddie.go(flow.address))
        return await flow.redeem(code, client_secret=self.secret)


@pytest.fixture
def suite(system: System) -> Suite:
    return Suite(system)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"display": "page"}, id="oidcc-display-page"),
        pytest.param({"display": "popup"}, id="oidcc-display-popup"),
        pytest.param({"ui_locales": "se"}, id="oidcc-ui-locales"),
        pytest.param({"claims_locales": "se"}, id="oidcc-claims-locales"),
        pytest.param({"acr_values": "1 2"}, id="oidcc-ensure-request-with-acr-values-succeeds"),
        pytest.param({"extra": "foobar"}, id="oidcc-ensure-request-with-unknown-parameter-succeeds"),
        pytest.param({"login_hint": "freddie"}, id="oidcc-login-hint"),
        pytest.param({"nonce": "n-0S6_WzA2Mj"}, id="oidcc-server"),
        pytest.param({}, id="oidcc-ensure-request-without-nonce-succeeds-for-code-flow"),
    ],
)
async def test_a_request_with_this_in_it_succeeds(suite: Suite, more: dict[str, str]) -> None:
    async with Visitor(*FREDDIE) as freddie:
        said = claims((await suite.sign_in(freddie, **more))["id_token"])
    assert (said["iss"], said["aud"]) == (suite.issuer, HUB)
    assert said.get("nonce") == more.get("nonce")


async def test_oidcc_ensure_other_scope_order_succeeds(suite: Suite) -> None:
    async with Visitor(*FREDDIE) as freddie:
        tokens = await suite.sign_in(freddie, "email openid")
    assert set(str(tokens.get("scope", "email openid")).split()) == {"email", "openid"}
    assert claims(tokens["id_token"])["aud"] == HUB


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_oidcc_userinfo_get_and_post_header(suite: Suite, method: str) -> None:
    async with Visitor(*FREDDIE) as freddie:
        tokens = await suite.sign_in(freddie, "openid profile")
    async with httpx.AsyncClient(trust_env=False) as client:
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        answer = await client.request(method, f"{suite.issuer}/connect/userinfo", headers=bearer)
    assert answer.status_code == 200
    assert answer.json()["sub"] == claims(tokens["id_token"])["sub"]
    assert answer.json()["given_name"] == "Freddie"


async def test_oidcc_max_age_10000(suite: Suite) -> None:
    """The second request needs no second sign-in, and says when the first one was."""
    async with Visitor(*FREDDIE) as freddie:
        first = claims((await suite.sign_in(freddie))["id_token"])
        second = claims((await suite.sign_in(freddie, max_age="10000"))["id_token"])
    assert second["auth_time"] == first["auth_time"]
    assert second["sub"] == first["sub"]
    assert second["auth_time"] <= time.time() + 5


async def test_oidcc_prompt_none_with_and_without_a_sign_in(suite: Suite) -> None:
    async with Visitor(*FREDDIE) as freddie:
        back = await freddie.go(suite.flow(prompt="none").address)
        assert parse_qs(urlsplit(back).query)["error"] == ["login_required"]
        first = claims((await suite.sign_in(freddie))["id_token"])
        second = claims((await suite.sign_in(freddie, prompt="none"))["id_token"])
    assert (second["sub"], second["auth_time"]) == (first["sub"], first["auth_time"])


async def test_oidcc_id_token_hint(suite: Suite) -> None:
    async with Visitor(*FREDDIE) as freddie:
        tokens = await suite.sign_in(freddie)
        again = await suite.sign_in(freddie, prompt="none", id_token_hint=tokens["id_token"])
    assert claims(again["id_token"])["sub"] == claims(tokens["id_token"])["sub"]
