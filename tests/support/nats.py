"""A NATS server of a test's own: the real one, with the users and permissions of `infra/nats.conf`."""

from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import RawStreamMsg, StreamInfo

from infra.local import nats as local
from infra.local.home import Home
from infra.local.ports import LOOPBACK, Ports
from infra.local.process import until
from shared.messaging import NatsAccess
from shared.messaging.access import STREAM
from tests.support.ports import free_ports


class NatsServer:
    """The server, which can be stopped and started again with its data."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self._home = Home(folder)
        self._home.take()
        self._ports = ports
        self._process = local.process(self._home, ports)

    def access(self, user: str) -> NatsAccess:
        """The sign-in of one of the users."""
        password = local.password_file(self._home, user).read_text().strip()
        return NatsAccess(f"nats://{LOOPBACK}:{self._ports.nats}", user, password)

    async def connect(self, user: str = "ledger") -> Client:
        """A connection of a test's own, which does not mend itself."""
        access = self.access(user)
        return await nats.connect(
            access.url,
            user=user,
            password=access.password,
            inbox_prefix=access.inbox_prefix,
            allow_reconnect=False,
            error_cb=_unheard,
        )

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        await self._process.start()
        assert await until(lambda: local.ready(self._ports), 10), self._process.last_words()

    async def stop(self) -> None:
        """Stop it; connections break, files stay."""
        await self._process.stop()

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self._process.kill()

    async def close(self) -> None:
        """Stop it for good."""
        await self._process.stop()
        self._home.release()


async def _unheard(_: Exception) -> None:
    """A test looks at what it gets, not at what the client says about it."""


async def stream_info(client: Client) -> StreamInfo:
    """What the server says of the stream."""
    return await client.jetstream().stream_info(STREAM)


async def stream_messages(client: Client) -> list[RawStreamMsg]:
    """All messages of the stream, in order."""
    stream = client.jetstream()
    last = (await stream.stream_info(STREAM)).state.last_seq
    return [await stream.get_msg(STREAM, sequence) for sequence in range(1, last + 1)]


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running server with nothing in it."""
    server = NatsServer(tmp_path / "nats-home", free_ports())
    await server.start()
    yield server
    await server.close()
