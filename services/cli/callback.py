"""The loopback address that the browser comes back to (RFC 8252 section 7.3): one page, for one answer."""

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

from shared.ids import same

PATH: Final = "/callback"
_LINE: Final = 8192
_LINES: Final = 100
_REQUEST_SECONDS: Final = 5.0

_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>{words} &ndash; Stagedoor</title>"
    "<meta name=viewport content='width=device-width, initial-scale=1'><meta name=color-scheme content='light dark'>"
    "<h1>{words}</h1><p>You can close this window and go back to the terminal.</p></html>"
)
_HEAD: Final = (
    "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n"
    "Content-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n"
    "Connection: close\r\n\r\n"
)


class Callback:
    """Listens on a free port of 127.0.0.1 while it is entered."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._state = ""
        self._answer: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        self.redirect_uri = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LINE)
        port = self._server.sockets[0].getsockname()[1]
        self.redirect_uri = f"http://127.0.0.1:{port}{PATH}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def answer(self, state: str) -> Mapping[str, str]:
        """The parameters that come back with this state. Whatever comes with another one is turned away."""
        self._state = state
        return await self._answer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, EOFError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                status, words = self._receive(await _target(reader))
                page = _PAGE.format(words=words).encode()
                writer.write(_HEAD.format(status=status, length=len(page)).encode() + page)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _receive(self, target: str) -> tuple[str, str]:
        parts = urlsplit(target)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        answer = dict(pairs)
        if parts.path != PATH or len(answer) != len(pairs):
            return "404 Not Found", "There is nothing here"
        if not self._state or not same(answer.get("state", ""), self._state) or self._answer.done():
            return "400 Bad Request", "This is not the answer that was waited for"
        self._answer.set_result(answer)
        return "200 OK", "You are signed in" if "code" in answer else "You are not signed in"


async def _target(reader: asyncio.StreamReader) -> str:
    """The target of a GET request, once its headers are read."""
    first = (await reader.readuntil(b"\r\n")).decode("ascii")
    method, target, _version = first.split(" ")
    for _ in range(_LINES):
        if await reader.readuntil(b"\r\n") == b"\r\n":
            break
    return target if method == "GET" else ""
