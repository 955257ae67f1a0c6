"""An HTTP server of a test's own, run the way services run theirs."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp

from shared.http.operations import Check, Readiness, Ready
from shared.http.serve import serve
from shared.settings import ServiceSettings
from tests.support.ports import free_port

NOWHERE = Path("/nonexistent")


async def is_ready() -> Readiness:
    return Readiness({"log": Check(ok=True, detail="reachable", lag=0)})


def settings(port: int, **more: Any) -> ServiceSettings:
    """Settings for HTTP on one port."""
    return ServiceSettings(
        http_bind=f"127.0.0.1:{port}",
        tls_ca_file=NOWHERE,
        tls_certificate_file=NOWHERE,
        tls_key_file=NOWHERE,
        **more,
    )


@dataclass
class Running:
    """A server under test."""

    port: int
    client: httpx.AsyncClient

    async def raw(self, request: bytes, *, wait: float = 10.0) -> bytes:
        """Send bytes as they are and read to the end of the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(wait):
                return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def serving(
    app: ASGIApp,
    ready: Ready = is_ready,
    background: Sequence[Coroutine[Any, Any, None]] = (),
    **more: Any,
) -> AsyncIterator[Running]:
    """Serve until the end of the block."""
    port = free_port()
    serving_it = asyncio.ensure_future(serve(settings(port, **more), app, None, ready, background))
    try:
        async with (
            asyncio.timeout(60),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client,
        ):
            await _until_listening(port, serving_it)
            yield Running(port, client)
    finally:
        serving_it.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving_it


async def _until_listening(port: int, serving_it: "asyncio.Future[None]") -> None:
    async with asyncio.timeout(10):
        while True:
            if serving_it.done():
                serving_it.result()
                raise AssertionError("it ended before it served")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            await asyncio.sleep(0.01)


def status_of(answer: bytes) -> int:
    """The status of a raw answer."""
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> bytes:
    """The body of a raw answer."""
    return answer.partition(b"\r\n\r\n")[2]
