"""What a sign-in that is not enough is told of by: the scheme that its token came by (RFC 9470, RFC 9449)."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stagedoor.asgi import GuardMiddleware
from stagedoor.step_up import require_sign_in
from tests.support.dpop import ProofKey
from tests.support.sdk_tokens import SigningKey, claims, guard

URI = "https://api.example.com/sell"
METADATA = "https://api.example.com/.well-known/oauth-protected-resource"
WANTED = 'acr_values="urn:stagedoor:acr:mfa", max_age="300"'


@require_sign_in(acr=["urn:stagedoor:acr:mfa"], max_age=300)
async def _sell(_: Request) -> Response:
    return PlainTextResponse("sold")


@pytest.mark.parametrize("bound", [False, True])
async def test_what_is_wanted_stands_in_the_challenge_of_the_scheme(bound: bool) -> None:
    key, held = SigningKey(), ProofKey()
    token = key.sign(claims(cnf={"jkt": held.jkt} if bound else None))
    app = GuardMiddleware(Starlette(routes=[Route("/sell", _sell)]), guard(key), resource_metadata_url=METADATA)
    headers = held.headers("GET", URI, token) if bound else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        answer = await client.get("/sell", headers=headers)
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    algs = 'algs="ES256 RS256 PS256 EdDSA"'
    error = 'error="insufficient_user_authentication", error_description="a different sign-in is needed"'
    said = f'{error}, resource_metadata="{METADATA}", {WANTED}'
    assert challenge == (f"DPoP {said}, {algs}" if bound else f"Bearer {said}, DPoP {algs}")
