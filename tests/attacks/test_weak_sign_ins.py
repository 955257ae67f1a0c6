"""A token of a sign-in that was too weak, or too long ago, at an endpoint that wants more (RFC 9470)."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stagedoor.asgi import GuardMiddleware, require
from stagedoor.step_up import require_sign_in
from tests.support.sdk_tokens import SigningKey, claims, guard

_KEY = SigningKey()
MFA, PASSWORD = "urn:stagedoor:acr:mfa", "urn:stagedoor:acr:password"


@require_sign_in(acr=[MFA], max_age=300)
@require("update")
async def _sell(request: Request) -> Response:
    return PlainTextResponse(request.scope["stagedoor"].sub)


@require_sign_in(max_age=300)
async def _recent(_: Request) -> Response:
    return PlainTextResponse("recent")


@require_sign_in(acr=[MFA, "phr"])
async def _strong(_: Request) -> Response:
    return PlainTextResponse("strong")


_APP = Starlette(routes=[Route("/sell", _sell), Route("/recent", _recent), Route("/strong", _strong)])


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = GuardMiddleware(_APP, guard(_KEY), resource_metadata_url="https://api.example.com/.well-known/x")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as made:
        yield made


def bearer(**changes: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {_KEY.sign(claims(**changes))}"}


def ago(seconds: float) -> int:
    return int(time.time() - seconds)


async def test_who_signed_in_by_enough_just_now(client: httpx.AsyncClient) -> None:
    headers = bearer(acr=MFA, auth_time=ago(60))
    for path in ("/sell", "/recent", "/strong"):
        assert (await client.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"acr": PASSWORD, "auth_time": ago(0)},
        {"acr": MFA},
        {"acr": MFA, "auth_time": ago(3600)},
        {"acr": MFA, "auth_time": str(ago(0))},
        {"acr": MFA, "auth_time": True},
        {"acr": MFA, "auth_time": 9e99},
        {"acr": MFA, "auth_time": None},
        {"acr": None, "auth_time": ago(0)},
        {"acr": [MFA], "auth_time": ago(0)},
        {"acr": {MFA: MFA}, "auth_time": ago(0)},
        {"acr": f"{MFA} {PASSWORD}", "auth_time": ago(0)},
        {"acr": MFA.upper(), "auth_time": ago(0)},
        {"amr": ["pwd", "otp", "mfa"], "auth_time": ago(0)},
    ],
)
async def test_whoever_else_is_told_what_is_missing(client: httpx.AsyncClient, said: dict[str, Any]) -> None:
    answer = await client.get("/sell", headers=bearer(**said))
    assert answer.status_code == 401
    assert answer.json()["error"] == "insufficient_user_authentication"
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="insufficient_user_authentication"')
    assert f'acr_values="{MFA}"' in challenge
    assert 'max_age="300"' in challenge


async def test_each_alone(client: httpx.AsyncClient) -> None:
    old, weak = bearer(acr="phr", auth_time=ago(3600)), bearer(acr=PASSWORD, auth_time=ago(1))
    assert (await client.get("/strong", headers=old)).status_code == 200
    assert (await client.get("/recent", headers=weak)).status_code == 200
    refused = await client.get("/recent", headers=old)
    assert (refused.status_code, "acr_values" in refused.headers["www-authenticate"]) == (401, False)
    refused = await client.get("/strong", headers=weak)
    assert (refused.status_code, "max_age" in refused.headers["www-authenticate"]) == (401, False)
    assert f'acr_values="{MFA} phr"' in refused.headers["www-authenticate"]


async def test_a_scope_is_still_needed(client: httpx.AsyncClient) -> None:
    headers = bearer(acr=MFA, auth_time=ago(1), scope="read")
    assert (await client.get("/sell", headers=headers)).status_code == 403


@pytest.mark.parametrize("acr", [[""], ["a b"], ['a"b'], ["a\\b"], ["é"]])
def test_what_cannot_be_told_in_a_challenge_is_not_required(acr: list[str]) -> None:
    with pytest.raises(ValueError, match="an acr is"):
        require_sign_in(acr=acr)


def test_one_value_is_not_taken_for_its_characters() -> None:
    with pytest.raises(TypeError, match="list"):
        require_sign_in(acr=MFA)


def test_something_is_required() -> None:
    with pytest.raises(ValueError, match="say what"):
        require_sign_in()
