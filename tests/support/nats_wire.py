"""A wire between a NATS client and the server that loses, doubles, delays and reorders what is delivered.

It knows only the protocol's frames (`MSG` and `HMSG`), so whoever follows is tested from outside.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from infra.local.ports import LOOPBACK
from tests.support.ports import free_port


@dataclass
class Mischief:
    """How likely each fate of a delivered message is; what remains is passed on."""

    lost: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    longest_delay: float = 0.3
    """In seconds; what is delayed comes after what was sent later."""
    done: int = 0
    """Messages that something happened to."""

    def stop(self) -> None:
        """From now on the wire is a good one."""
        self.lost = self.doubled = self.delayed = 0.0


class NatsWire:
    """Listens where clients connect, and passes bytes on."""

    def __init__(self, target: int, dice: random.Random, mischief: Mischief) -> None:
        self.port = free_port()
        self._target = target
        self._dice = dice
        self._mischief = mischief
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{LOOPBACK}:{self.port}"

    async def link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        try:
            server_in, server_out = await asyncio.open_connection(LOOPBACK, self._target, limit=1 << 20)
        except OSError:
            writer.close()
            return
        with suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._forth(reader, server_out))
                tasks.create_task(self._back(server_in, writer))
        writer.close()
        server_out.close()

    async def _forth(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            server.write(data)
            await server.drain()
        server.close()

    async def _back(self, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await server.readline():
            words = line.split()
            if words[:1] in ([b"MSG"], [b"HMSG"]):
                frame = line + await server.readexactly(int(words[-1]) + 2)
                self._deliver(frame, words[1], writer)
            else:
                writer.write(line)
            await writer.drain()
        writer.close()

    def _deliver(self, frame: bytes, subject: bytes, writer: asyncio.StreamWriter) -> None:
        """Events only: what the server answers to questions is left alone."""
        fate = self._dice.random() if subject.startswith(b"stagedoor.") else 1.0
        mischief = self._mischief
        if fate < mischief.lost:
            mischief.done += 1
        elif fate < mischief.lost + mischief.doubled:
            mischief.done += 1
            writer.write(frame + frame)
        elif fate < mischief.lost + mischief.doubled + mischief.delayed:
            mischief.done += 1
            task = asyncio.create_task(self._later(frame, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            writer.write(frame)

    async def _later(self, frame: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._dice.uniform(0.0, self._mischief.longest_delay))
        if not writer.is_closing():
            writer.write(frame)

    async def close(self) -> None:
        """Forget what was delayed."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def nats_wire(target: int, dice: random.Random, mischief: Mischief) -> AsyncIterator[NatsWire]:
    """A wire to the server on this port."""
    made = NatsWire(target, dice, mischief)
    server = await asyncio.start_server(made.link, LOOPBACK, made.port, limit=1 << 20)
    try:
        yield made
    finally:
        server.close()
        await made.close()
