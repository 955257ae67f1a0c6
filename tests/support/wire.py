"""A wire between a client and PostgreSQL that a test can cut where it hurts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_PORT = 5432


class Wire:
    """Passes bytes on between a socket of its own and the server's."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.folder = folder
        self._server = server
        self.swallowing = 0
        """How many answers will still be lost."""
        self._cut_when_asked = False
        self._links: set[asyncio.StreamWriter] = set()
        self.asked = asyncio.Event()
        """Something was sent since `cut_when_asked`."""

    @property
    def _socket(self) -> str:
        return f".s.PGSQL.{_PORT}"

    def swallow(self, answers: int = 1) -> None:
        """The next answers of the server are lost, each with the connection that it was on."""
        self.swallowing = answers

    def cut_when_asked(self) -> None:
        """What is sent next still gets there; then the client's side is cut, and the server is not told."""
        self._cut_when_asked = True
        self.asked.clear()

    async def serve(self) -> asyncio.Server:
        """Begin to listen."""
        return await asyncio.start_unix_server(self._link, self.folder / self._socket)

    async def close(self) -> None:
        """Close all that is left."""
        for writer in self._links:
            writer.close()

    async def _link(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_unix_connection(self._server / self._socket)
        self._links |= {client_out, server_out}

        async def forth() -> None:
            while data := await client_in.read(1 << 16):
                server_out.write(data)
                await server_out.drain()
                if self._cut_when_asked:
                    self._cut_when_asked = False
                    client_out.transport.abort()
                    self.asked.set()
                    return  # the server's side stays open, as if the client's machine were gone
            server_out.close()

        async def back() -> None:
            while data := await server_in.read(1 << 16):
                if self.swallowing > 0:
                    self.swallowing -= 1
                    client_out.transport.abort()
                    return
                client_out.write(data)
                await client_out.drain()
            client_out.close()

        with suppress(OSError):
            await asyncio.gather(forth(), back())


@asynccontextmanager
async def wire(server: Path, folder: Path) -> AsyncIterator[Wire]:
    """A wire to the server whose socket is in `server`, listening in `folder`."""
    made = Wire(server, folder)
    serving = await made.serve()
    try:
        yield made
    finally:
        serving.close()
        await made.close()
