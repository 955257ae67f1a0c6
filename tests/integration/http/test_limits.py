"""How much may come, and in what form."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from shared.http.body import BODY_BYTES, BodyLimit
from shared.http.forms import read_form, single
from tests.integration.http.serving import body_of, serving, status_of


async def _echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _form(request: Request) -> Response:
    params = single(await read_form(request))
    return PlainTextResponse(",".join(sorted(params)))


async def _hold(request: Request) -> Response:
    request.app.state.entered.set()
    await request.app.state.leave.wait()
    return PlainTextResponse("held")


def _app() -> Starlette:
    app = Starlette(
        routes=[
            Route("/echo", _echo, methods=["POST"]),
            Route("/form", _form, methods=["POST"]),
            Route("/hold", _hold),
            Route("/here/{name}", _name),
        ]
    )
    app.state.entered = asyncio.Event()
    app.state.leave = asyncio.Event()
    return app


async def _name(request: Request) -> Response:
    return PlainTextResponse(request.path_params["name"])


def _head(*lines: str, method: str = "POST", target: str = "/echo") -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *lines, "", "")).encode("latin-1")


async def test_the_longest_body_is_read() -> None:
    async with serving(_app()) as running:
        answer = await running.client.post("/echo", content=b"x" * BODY_BYTES)
        assert (answer.status_code, answer.text) == (200, str(BODY_BYTES))


async def test_a_longer_body_is_refused_before_it_is_sent() -> None:
    async with serving(_app()) as running:
        began = monotonic()
        answer = await running.raw(_head(f"Content-Length: {BODY_BYTES + 1}"))
        assert status_of(answer) == 413
        assert json.loads(body_of(answer))["error"] == "request_too_large"
        assert b"connection: close" in answer.lower()
        assert monotonic() - began < 5


async def test_a_longer_body_is_refused_when_it_is_sent_all_the_same() -> None:
    """The client that sends all of it first still learns why it was refused."""
    async with serving(_app()) as running:
        answer = await running.client.post("/echo", content=b"x" * 500_000)
        assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/echo", "/form"])
async def test_a_longer_body_in_chunks_is_refused(path: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 8_000

    async with serving(_app()) as running:
        answer = await running.client.post(
            path, content=chunks(), headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert (answer.status_code, answer.json()["error"]) == (413, "request_too_large")


async def test_an_endless_body_is_refused_while_it_is_still_coming() -> None:
    async with serving(_app()) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(_head("Transfer-Encoding: chunked"))

        async def send_on() -> None:
            with contextlib.suppress(OSError):
                while True:
                    writer.write(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
                    await writer.drain()

        sending = asyncio.ensure_future(send_on())
        try:
            async with asyncio.timeout(10):
                assert status_of(await reader.readline()) == 413
                # And the connection ends, however long somebody goes on.
                await sending
        finally:
            sending.cancel()
            writer.close()


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: abc",),
        ("Content-Length: -1",),
        ("Content-Length: +1",),
        ("Content-Length: 1, 2",),
        ("Content-Length: 1", "Content-Length: 2"),
        ("Content-Length: 1", "Content-Length: 1"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 99999999999999999999999999",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding : chunked",),
        ("Bad Header: 1",),
        ("X-Fold: a\r\n b: c",),
        ("X-Nul: a\0b",),
    ],
)
async def test_a_head_that_two_servers_could_read_differently_is_refused(lines: tuple[str, ...]) -> None:
    async with serving(_app()) as running:
        answer = await running.raw(_head(*lines) + b"0\r\n\r\n")
        assert status_of(answer) == 400
        assert json.loads(body_of(answer))["error"] == "invalid_request"
        assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "head",
    [
        _head("X-Long: " + "a" * 40_000, method="GET", target="/here/x"),
        _head(*(f"X-{number}: a" for number in range(200)), method="GET", target="/here/x"),
        _head(method="GET", target="/here/" + "x" * 40_000),
        _head(*(f"X-{number}: {'a' * 1000}" for number in range(60)), method="GET", target="/here/x"),
    ],
    ids=["one long field", "many fields", "long target", "much in all"],
)
async def test_a_head_past_the_limits_is_refused(head: bytes) -> None:
    async with serving(_app()) as running:
        answer = await running.raw(head)
        assert status_of(answer) == 431
        assert answer.count(b"HTTP/1.1") == 1


async def test_a_head_that_never_ends_is_refused() -> None:
    async with serving(_app()) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /here/x HTTP/1.1\r\nX-Long: ")
        answer, sent = b"", 0
        with contextlib.suppress(OSError):  # it may be cut off before it has read the answer
            reading = asyncio.ensure_future(reader.read())
            async with asyncio.timeout(10):
                while not reading.done():
                    writer.write(b"a" * 1000)
                    sent += 1000
                    await writer.drain()
                    await asyncio.wait([reading], timeout=0.001)
            answer = reading.result()
        assert sent < 1_000_000
        assert not answer or status_of(answer) == 431
        writer.close()


@pytest.mark.parametrize(
    "target",
    [
        *("/here/%zz", "/here/%f", "/here/%ff", "/here/%c0%af", "/here/a%00b", "/here/a%0d%0ab"),
        *("/here/x?a=%zz", "/here/x?a=%ff", "/here/x?a=%00", "/here/x?%"),
    ],
)
async def test_a_target_with_broken_escapes_is_refused(target: str) -> None:
    async with serving(_app()) as running:
        answer = await running.raw(_head("Connection: close", method="GET", target=target))
        assert status_of(answer) == 400
        assert json.loads(body_of(answer))["error"] == "invalid_request"


@pytest.mark.parametrize("target", ["/here/gr\xfc\xdfe", "/here/x?a=\xc3\xbc", "/here/\x01"])
async def test_a_target_with_bytes_that_need_escapes_is_refused(target: str) -> None:
    async with serving(_app()) as running:
        answer = await running.raw(_head("Connection: close", method="GET", target=target))
        assert status_of(answer) == 400
        assert json.loads(body_of(answer))["error"] == "invalid_request"


async def test_a_target_with_proper_escapes_is_understood() -> None:
    async with serving(_app()) as running:
        answer = await running.client.get("/here/gr%C3%BC%C3%9Fe?a=%C3%BC")
        assert (answer.status_code, answer.text) == (200, "grüße")


async def test_a_parameter_twice_is_refused() -> None:
    async with serving(_app()) as running:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await running.client.post("/form", content=b"a=1&b=2", headers=form)
        assert answer.text == "a,b"
        answer = await running.client.post("/form", content=b"a=1&b=2&a=1", headers=form)
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": "invalid_request", "error_description": "a is given more than once"},
        )
        answer = await running.client.post("/form", json={"a": 1})
        assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")


async def test_more_at_once_than_there_is_room_for_is_turned_away_for_now() -> None:
    app = _app()
    async with serving(app, http_limit_concurrency=1) as running:
        held = asyncio.ensure_future(running.client.get("/hold"))
        await app.state.entered.wait()
        answer = await running.client.get("/here/x")
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        # Whoever watches over the service still gets through.
        assert (await running.client.get("/healthz")).status_code == 200
        app.state.leave.set()
        assert (await held).text == "held"
        assert (await running.client.get("/here/x")).status_code == 200


async def test_a_body_that_comes_too_slowly_is_not_waited_for() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(str(len(await Request(scope, receive).body())))(scope, receive, send)

    async with serving(BodyLimit(app, seconds=0.3)) as running:
        answer = await running.raw(_head("Content-Length: 10") + b"12345")
        assert status_of(answer) == 408
        assert json.loads(body_of(answer))["error"] == "request_timeout"


async def test_an_upgrade_is_not_followed() -> None:
    async with serving(_app()) as running:
        answer = await running.raw(
            _head(
                "Connection: Upgrade, close",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==",
                method="GET",
                target="/here/x",
            )
        )
        assert status_of(answer) == 200
