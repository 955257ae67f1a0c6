"""A web server on this machine that answers what a test says, and counts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.ports import free_port


@dataclass
class Web:
    """What it answers, and how often it was asked."""

    uri: str = ""
    status: int = 200
    body: bytes = b""
    more: bytes = b""
    asked: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, unless it is to hang."""

    def answer(self, status: int, body: bytes, more: bytes = b"") -> None:
        """From now on; `more` is header lines."""
        self.status, self.body, self.more = status, body, more

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            await self.free.wait()
            head = b"HTTP/1.1 %d Any\r\nContent-Length: %d\r\n%b\r\n" % (self.status, len(self.body), self.more)
            writer.write(head + self.body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def web() -> AsyncIterator[Web]:
    """A server that runs."""
    running = Web()
    running.free.set()
    server = await asyncio.start_server(running._serve, "127.0.0.1", free_port())
    running.uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    try:
        yield running
    finally:
        running.free.set()
        server.close()
