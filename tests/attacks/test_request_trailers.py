"""Header fields behind the body, where no proxy looks: what it would have taken away, or set itself, comes through.

RFC 9110 section 6.5.1: a trailer field is nothing that decides who is asking, or from where. And whoever never ends
them, or sends requests faster than they can be answered, fills the memory of the service.
"""

import asyncio
import contextlib
import json

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.http.client_address import LOOPBACK, ClientAddresses
from shared.http.endpoint import Application, Call, Reply
from tests.integration.http.serving import Running, body_of, serving, status_of

ADDRESSES = ClientAddresses(LOOPBACK)
HEAD = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 198.51.100.7\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"1\r\nx\r\n0\r\n"
LONGEST = 64 * 1024 * 1024
"""Bytes; more than what is on its way between the two."""
PATIENCE_SECONDS = 10.0
"""Less than a body may take."""


def told(call: Call) -> bytes:
    """From where a request comes, and with which credentials, as who answers it sees that."""
    (credentials,) = call.values(b"authorization")
    return json.dumps({"from": ADDRESSES.of(call), "credentials": credentials}).encode()


async def endpoint(call: Call) -> Reply:
    return Reply(200, ((b"content-type", b"application/json"),), told(call))


async def route(request: Request) -> Response:
    await request.body()
    call = Call(request.method, b"", request.scope["headers"], b"", request.client.host if request.client else "")
    return JSONResponse(json.loads(told(call)))


def application() -> Starlette:
    return Application([Route("/route", route, methods=["POST"])], {"/endpoint": {"POST": endpoint}})


async def end_of(running: Running, begun: bytes, piece: bytes) -> tuple[int, bytes]:
    """Send the beginning of a request, then the same piece for as long as it is taken; how much, and the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    sent = 0
    ending = asyncio.ensure_future(reader.read())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            writer.write(begun)
            with contextlib.suppress(OSError):
                while not ending.done() and sent <= LONGEST:
                    writer.write(piece)
                    await writer.drain()
                    sent += len(piece)
            with contextlib.suppress(OSError):
                return sent, await ending
    finally:
        ending.cancel()
        writer.close()
    return sent, b""


@pytest.mark.parametrize("path", [b"/endpoint", b"/route"])
@pytest.mark.parametrize("parts", [1, 2])
async def test_they_say_nothing_of_who_asks(path: bytes, parts: int) -> None:
    trailers = b"X-Forwarded-For: 203.0.113.9\r\nAuthorization: Bearer eyJ\r\n\r\n"
    pieces = [HEAD % path + BODY + trailers] if parts == 1 else [HEAD % path, BODY + trailers]
    async with serving(application()) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        # The next request on the same connection has its own fields again.
        writer.write(HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") % path + BODY + b"\r\n")
        async with asyncio.timeout(10):
            first, _, second = (await reader.read()).rpartition(b"HTTP/1.1 200")
        writer.close()
        for answer in (first, b"HTTP/1.1 200" + second):
            assert json.loads(body_of(answer)) == {"from": "198.51.100.7", "credentials": []}


@pytest.mark.parametrize("piece", [b"x-a: b\r\n" * 4096, b"x" * 32768], ids=["many", "one"])
async def test_they_have_an_end(piece: bytes) -> None:
    async with serving(application()) as running:
        sent, answer = await end_of(running, HEAD % b"/endpoint" + BODY + b"x-long: ", piece)
        assert sent < LONGEST
        assert answer == b"" or status_of(answer) == 400
        assert (await running.client.post("/endpoint")).status_code == 200


async def test_few_requests_wait_behind_one() -> None:
    """They come in one piece, so that nobody could stop reading in between."""
    one = b"POST /route HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
    async with serving(application()) as running:
        answer = await running.raw(one * 16 + one.replace(b"Host", b"Connection: close\r\nHost"))
        assert answer.count(b"HTTP/1.1 200") == 17
        answer = await running.raw(one * 2000)
        assert answer.count(b"HTTP/1.1 200") < 40
        assert (await running.client.post("/endpoint")).status_code == 200
