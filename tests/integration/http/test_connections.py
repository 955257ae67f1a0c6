"""More connections than there is room for, and clients that do not take what they asked for."""

import asyncio
import contextlib
import json
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from infra.local.process import until
from shared.http import protocol
from shared.http.binding import room_for
from tests.integration.http.serving import Running, body_of, serving, status_of

MOST = 4
"""Connections without a crowd, where one request may be under way."""
GET = b"GET /here HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def _here(_: Request) -> Response:
    return PlainTextResponse("here")


async def _much(_: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    return StreamingResponse(pieces())


def _app() -> Starlette:
    return Starlette(routes=[Route("/here", _here), Route("/much", _much)])


@asynccontextmanager
async def idle(running: Running, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that are open and say nothing."""
    opened = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(count)]
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()
        for _, writer in opened:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_who_comes_in_a_crowd_is_told_to_come_again_and_health_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CROWDED_HEAD_SECONDS", 30.0)
    async with serving(_app(), http_limit_concurrency=1) as running:
        async with idle(running, MOST):
            answer = await running.raw(GET)
            assert status_of(answer) == 503
            assert b"\r\nretry-after: 1\r\n" in answer.lower()
            assert b"\r\nconnection: close\r\n" in answer.lower()
            assert json.loads(body_of(answer))["error"] == "temporarily_unavailable"
            assert status_of(await running.raw(HEALTH)) == 200
            # Who says nothing does not stay.
            monkeypatch.setattr(protocol, "CROWDED_HEAD_SECONDS", 0.3)
            async with idle(running, 2) as late, asyncio.timeout(30):
                assert [await reader.read() for reader in late] == [b"", b""]
        assert status_of(await running.raw(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) == 200
        assert (await running.client.get("/here")).text == "here"


async def test_past_twice_as_many_a_connection_ends_as_it_begins() -> None:
    async with serving(_app(), http_limit_concurrency=1) as running:
        async with idle(running, 2 * MOST), asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            answer = await reader.read()
            writer.close()
            assert status_of(answer) == 503
            assert b"\r\nretry-after: 1\r\n" in answer
            assert json.loads(body_of(answer))["error"] == "temporarily_unavailable"
        assert (await running.client.get("/here")).text == "here"


async def test_an_answer_that_is_not_taken_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TAKE_SECONDS", 0.5)
    async with serving(_app(), http_limit_concurrency=1) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as greedy:
            greedy.sendall(GET.replace(b"/here", b"/much"))
            seen: list[int] = []

            async def others_get(status: int) -> bool:
                seen.append((await running.client.get("/here")).status_code)
                return seen[-1] == status

            # It is the one request that may be under way, so others wait until it has been given up.
            assert await until(lambda: others_get(503), 20)
            assert await until(lambda: others_get(200), 20)
            assert set(seen) <= {200, 503}
            taken = 0
            with contextlib.suppress(ConnectionResetError):
                while piece := greedy.recv(65_536):
                    taken += len(piece)
            assert taken < 20_000_000


async def test_an_answer_that_is_taken_slowly_is_given_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TAKE_SECONDS", 5.0)
    async with serving(_app()) as running, running.client.stream("GET", "/much") as answer:
        taken = 0
        async for piece in answer.aiter_raw():
            taken += len(piece)
            if taken < 1_000_000:
                await asyncio.sleep(0.01)
        assert taken == 20_000_000


def test_there_are_never_more_connections_than_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
        assert room_for(100) == 100
        wanted = 4096
        room = room_for(wanted)
        now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert room == wanted or hard != resource.RLIM_INFINITY
        assert 2 * room < now
        assert room <= wanted
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
