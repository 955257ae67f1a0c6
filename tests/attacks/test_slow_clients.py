"""Clients that begin and never finish, to keep what they hold from everybody else: at the door, and past it."""

import asyncio
import contextlib
from time import monotonic

import httpx
import pytest

from infra.local.system import System

pytestmark = pytest.mark.timeout(300)
AT_ONCE = 100
HEAD_SECONDS = {"door": 5, "service": 10}
"""As infra/caddy/door.Caddyfile and shared/http/protocol.py have them."""
BODY_SECONDS = 10
PATIENCE_SECONDS = 60
"""On top of the bounds, where the machine is slow."""
DRIP_SECONDS = 0.5


async def drip(port: int, begun: bytes, piece: bytes) -> tuple[float, bytes]:
    """Send the beginning of a request, then a little again and again; how long that is suffered, and the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = monotonic()
    ending = asyncio.ensure_future(reader.read())
    writer.write(begun)
    with contextlib.suppress(OSError):
        while not (await asyncio.wait([ending], timeout=DRIP_SECONDS))[0]:
            writer.write(piece)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        return monotonic() - began, await ending
    return monotonic() - began, b""


async def test_they_are_cut_off_and_everybody_else_is_served_meanwhile(system: System) -> None:
    ports = system.ports
    host = f"Host: 127.0.0.1:{ports.door}\r\n".encode()
    head = b"POST /id/connect/token HTTP/1.1\r\n" + host + b"X-Slow: "
    body = (
        b"POST /id/connect/token HTTP/1.1\r\n" + host + b"Content-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 60000\r\n\r\ngrant_type="
    )
    slow = {
        "head, door": [asyncio.ensure_future(drip(ports.door, head, b"a")) for _ in range(AT_ONCE)],
        "body, door": [asyncio.ensure_future(drip(ports.door, body, b"a")) for _ in range(AT_ONCE)],
        "head, service": [asyncio.ensure_future(drip(ports.http("token_issuer"), head, b"a")) for _ in range(AT_ONCE)],
    }
    async with httpx.AsyncClient(trust_env=False, timeout=30) as honest:
        while not all(task.done() for tasks in slow.values() for task in tasks):
            for address in (f"{ports.issuer}/connect/jwks", f"http://127.0.0.1:{ports.http('token_issuer')}/healthz"):
                assert (await honest.get(address)).status_code == 200
            await asyncio.sleep(0.2)
    ended = {what: [task.result() for task in tasks] for what, tasks in slow.items()}
    for what, bound in (
        ("head, door", HEAD_SECONDS["door"]),
        ("body, door", BODY_SECONDS),
        ("head, service", HEAD_SECONDS["service"]),
    ):
        assert max(seconds for seconds, _ in ended[what]) < bound + PATIENCE_SECONDS, what
        # Nothing that was begun so has been taken for a request and answered as if it were whole.
        assert not any(answer.startswith(b"HTTP/1.1 2") for _, answer in ended[what]), what
