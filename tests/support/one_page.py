"""An HTTP server with one page, whatever it is asked for: somewhere that a browser can be sent to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infra.local.ports import LOOPBACK


@asynccontextmanager
async def one_page(port: int, content: str) -> AsyncIterator[None]:
    """Served on a port of the loopback address while it is entered."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head + content.encode())
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, LOOPBACK, port):
        yield
