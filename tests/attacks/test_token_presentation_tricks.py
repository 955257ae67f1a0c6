"""Good tokens presented in ways that leak them, or that confuse who is acting (RFC 6750 sections 2 and 5)."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stagedoor.asgi import GuardMiddleware, require
from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule
from tests.support.reference_tokens import Desk, make
from tests.support.sdk_tokens import SigningKey, claims, guard

_KEY = SigningKey()
_METADATA = "https://api.example.com/.well-known/oauth-protected-resource/api"


async def _who(request: Request) -> Response:
    return PlainTextResponse(request.scope["stagedoor"].sub)


@require("update")
async def _change(request: Request) -> Response:
    return PlainTextResponse(request.scope["stagedoor"].client_id)


_APP = Starlette(
    routes=[
        Route("/who", _who, methods=["GET", "POST"]),
        Route("/change", _change, methods=["POST"]),
        Route("/open", lambda _: PlainTextResponse("come in")),
    ]
)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = GuardMiddleware(_APP, guard(_KEY), resource_metadata_url=_METADATA, open_paths=["/open"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as made:
        yield made


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def has_metadata(answer: httpx.Response) -> bool:
    return f'resource_metadata="{_METADATA}"' in answer.headers["www-authenticate"]


async def test_a_good_token(client: httpx.AsyncClient) -> None:
    answer = await client.get("/who", headers=bearer(_KEY.sign(claims())))
    assert (answer.status_code, answer.text) == (200, "sub-freddie")


async def test_no_credentials_name_no_error(client: httpx.AsyncClient) -> None:
    answer = await client.get("/who")
    assert answer.status_code == 401
    assert "error=" not in answer.headers["www-authenticate"]
    assert has_metadata(answer)


async def test_an_open_path_is_open_and_no_other_spelling_of_it(client: httpx.AsyncClient) -> None:
    assert (await client.get("/open")).text == "come in"
    for path in ("/open/", "//open", "/open/../who", "/OPEN"):
        assert (await client.get(path)).status_code == 401


async def test_a_token_in_the_query_string(client: httpx.AsyncClient) -> None:
    token = _KEY.sign(claims())
    for path in (f"/who?access_token={token}", f"/who?a=b&access%5Ftoken={token}", "/who?access_token="):
        for headers in ({}, bearer(token)):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 400
            assert 'error="invalid_request"' in answer.headers["www-authenticate"]
            assert token not in answer.text


async def test_a_token_in_the_body_is_no_credential(client: httpx.AsyncClient) -> None:
    answer = await client.post("/who", data={"access_token": _KEY.sign(claims())})
    assert answer.status_code == 401


async def test_two_credentials(client: httpx.AsyncClient) -> None:
    token = _KEY.sign(claims())
    for second in (("Authorization", f"Bearer {token}"), ("Authorization", "Basic eDp5"), ("X-Api-Key", "k")):
        answer = await client.get("/who", headers=[("Authorization", f"Bearer {token}"), second])
        assert answer.status_code == 400
        assert has_metadata(answer)


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", 'Bearer "a"', "Bearer a\tb", "Bearer é"]
)
async def test_a_header_that_is_not_well_formed(client: httpx.AsyncClient, value: str) -> None:
    answer = await client.get("/who", headers=[(b"Authorization", value.encode("latin-1"))])
    assert answer.status_code == 400


async def test_another_scheme(client: httpx.AsyncClient) -> None:
    token = _KEY.sign(claims())
    for value in ("Basic eDp5", f"MAC {token}", token, f"BearerX {token}"):
        answer = await client.get("/who", headers={"Authorization": value})
        assert answer.status_code == 401
        assert "error=" not in answer.headers["www-authenticate"]
    assert (await client.get("/who", headers={"Authorization": f"bearer {token}"})).status_code == 200


async def test_a_refused_token_is_not_quoted(client: httpx.AsyncClient) -> None:
    answer = await client.get("/who", headers=bearer("not-a-token"))
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert "not-a-token" not in answer.text + str(answer.headers)
    assert answer.headers["cache-control"] == "no-store"


async def test_a_missing_scope(client: httpx.AsyncClient) -> None:
    assert (await client.post("/change", headers=bearer(_KEY.sign(claims())))).status_code == 200
    answer = await client.post("/change", headers=bearer(_KEY.sign(claims(scope="read"))))
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert 'scope="update"' in answer.headers["www-authenticate"]
    assert has_metadata(answer)


async def test_when_it_cannot_be_decided_it_says_when_to_come_again() -> None:
    stale = guard(_KEY, boot=lambda: since_boot() + 3600)
    app = GuardMiddleware(_APP, stale, resource_metadata_url=_METADATA)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        answer = await client.get("/who", headers=bearer(_KEY.sign(claims())))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert has_metadata(answer)


async def test_a_denied_token_is_an_invalid_token() -> None:
    disabled = Denial(
        number=1, position=500, epoch=1, kind=DenialKind.CLIENT, id="com.backstagehub/app", rule=DenialRule.STANDING
    )
    app = GuardMiddleware(_APP, guard(_KEY, disabled), resource_metadata_url=_METADATA)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        answer = await client.get("/who", headers=bearer(_KEY.sign(claims())))
    assert answer.status_code == 401
    assert "the application of the token is disabled" in answer.headers["www-authenticate"]


async def test_a_websocket_is_closed_before_it_opens() -> None:
    app = GuardMiddleware(_APP, guard(_KEY), resource_metadata_url=_METADATA)
    sent = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/who", "headers": [], "query_string": b""}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "an access token is needed"}]


@pytest.fixture
async def with_keys() -> AsyncIterator[tuple[httpx.AsyncClient, Desk]]:
    desk = Desk()
    app = GuardMiddleware(_APP, guard(_KEY, online=desk), resource_metadata_url=_METADATA)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as made:
        yield made, desk


async def test_a_reference_token_comes_in_either_header(with_keys: tuple[httpx.AsyncClient, Desk]) -> None:
    client, desk = with_keys
    token = desk.issue()
    for headers in ({"X-Api-Key": token}, bearer(token)):
        answer = await client.get("/who", headers=headers)
        assert (answer.status_code, answer.text) == (200, "sub-freddie")
    assert desk.asked == [token]


async def test_an_unknown_reference_token_and_an_issuer_that_is_down(
    with_keys: tuple[httpx.AsyncClient, Desk],
) -> None:
    client, desk = with_keys
    answer = await client.get("/who", headers={"X-Api-Key": make()})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    desk.down = True
    answer = await client.get("/who", headers={"X-Api-Key": make()})
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


async def test_an_access_token_is_no_api_key(with_keys: tuple[httpx.AsyncClient, Desk]) -> None:
    client, _ = with_keys
    for value in (_KEY.sign(claims()), "k", "", f"Bearer {make()}"):
        answer = await client.get("/who", headers={"X-Api-Key": value})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_two_credentials_are_refused_even_if_both_are_good(with_keys: tuple[httpx.AsyncClient, Desk]) -> None:
    client, desk = with_keys
    token = desk.issue()
    for first in (bearer(token), bearer(_KEY.sign(claims()))):
        answer = await client.get("/who", headers={**first, "X-Api-Key": token})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert desk.asked == []


async def test_a_reference_token_in_a_query_string_is_refused_under_any_name(
    with_keys: tuple[httpx.AsyncClient, Desk],
) -> None:
    client, desk = with_keys
    token = desk.issue()
    for name in ("access_token", "api_key", "key"):
        answer = await client.get("/who", params={name: token}, headers={"X-Api-Key": token})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert desk.asked == []
