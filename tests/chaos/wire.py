"""A wire between services and a NATS server: what is said over it can be held up, or cut off."""

import asyncio
from contextlib import suppress

from infra.local.ports import LOOPBACK

_CHUNK = 64 * 1024


class Wire:
    """Passes on what comes to `port`, to whoever listens at `behind`. It belongs to one event loop."""

    def __init__(self, port: int, behind: int) -> None:
        self.port = port
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._delay = 0.0
        self._ends: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)

    async def close(self) -> None:
        """Hang up, and listen no more."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in tuple(self._passing):
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def hold_up(self, seconds: float) -> None:
        """From now on every piece of what is said comes so much later: 0 for none."""
        self._delay = seconds

    def cut(self) -> None:
        """End every connection, whatever is on its way."""
        for end in tuple(self._ends):
            end.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, self._behind)
        except OSError:
            writer.transport.abort()
            return
        self._ends |= {writer, inner_writer}
        for source, target in ((reader, inner_writer), (inner_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, target))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(_CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                target.write(piece)
                await target.drain()
        target.close()
        self._ends.discard(target)
