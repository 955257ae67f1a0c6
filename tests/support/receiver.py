"""Where an application is told of logouts, in tests: it keeps what came, and answers as it is told to."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

OK = b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n"


def status(number: int, *headers: str) -> bytes:
    """An answer without a body."""
    lines = [f"HTTP/1.1 {number} Said", *headers, "Content-Length: 0", "", ""]
    return "\r\n".join(lines).encode()


@dataclass
class Receiver:
    """A server on the loopback address."""

    port: int = 0
    answer: bytes | None = OK
    """None: it takes the request and never says a word."""
    heads: list[str] = field(default_factory=list)
    """Request line and headers of each request."""
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    drips: float | None = None
    """Seconds between bytes that it goes on sending after its answer; None: it is done then."""
    under_way: int = 0
    most_at_once: int = 0
    path: str = "/backchannel-logout"

    @property
    def uri(self) -> str:
        return f"http://localhost:{self.port}{self.path}"

    @property
    def tokens(self) -> list[str]:
        """The logout tokens, in the order in which they came."""
        return [form["logout_token"][0] for form in self.forms]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._answer(reader, writer)
        finally:
            self.under_way -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:"))
        self.forms.append(parse_qs((await reader.readexactly(length)).decode(), strict_parsing=True))
        self.heads.append(head)
        if self.answer is None:
            await reader.read()  # until whoever asked has gone
            return
        writer.write(self.answer)
        await writer.drain()
        while self.drips is not None:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(self.drips)


@asynccontextmanager
async def receiving(
    context: ssl.SSLContext | None = None, *, answer: bytes | None = OK, drips: float | None = None
) -> AsyncIterator[Receiver]:
    """A receiver that runs, over TLS if it is given a `context`."""
    receiver = Receiver(answer=answer, drips=drips)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
