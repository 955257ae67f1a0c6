"""Whether the stream is a copy of the log: each event once, at the sequence that is its position."""

from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import ServiceUnavailableError

from infra.local.nats import password_file
from infra.local.ports import LOOPBACK
from infra.local.process import until
from infra.local.system import System
from shared.messaging.access import STREAM, NatsAccess
from shared.messaging.session import FAILURES

_CAUGHT_UP_SECONDS = 30.0


async def differences(system: System) -> list[str]:
    """What is different, once the relay has had its time."""
    access = NatsAccess(
        f"nats://{LOOPBACK}:{system.ports.nats}", "ledger", password_file(system.home, "ledger").read_text().strip()
    )
    client = await access.connect(_closed)
    try:
        stream = client.jetstream(timeout=10)
        connection = await asyncpg.connect(system.postgres.dsn(), password=system.postgres.password)
        try:
            written = await connection.fetch("SELECT position, stream, version, type FROM log.events ORDER BY position")
        finally:
            await connection.close()

        async def complete() -> bool:
            with suppress(*FAILURES):  # the servers may be choosing who answers
                return (await stream.stream_info(STREAM)).state.last_seq >= len(written)
            return False

        if not await until(complete, _CAUGHT_UP_SECONDS, every=0.1):
            return ["the stream is not complete"]
        messages = [(row, await _message(stream, row["position"])) for row in written]
        return [told for row, message in messages if (told := _different(row, message))]
    finally:
        await client.close()


async def _message(stream: JetStreamContext, position: int) -> RawStreamMsg:
    """The message at a sequence, asked for again while the servers choose who answers."""
    found: list[RawStreamMsg] = []

    async def there() -> bool:
        with suppress(ServiceUnavailableError, NatsTimeoutError):
            found.append(await stream.get_msg(STREAM, position))
        return bool(found)

    assert await until(there, _CAUGHT_UP_SECONDS, every=0.1), f"nobody tells what is at {position}"
    return found[0]


async def _closed() -> None:
    """Nobody is told."""


def _different(row: Any, message: Any) -> str:
    body = msgspec.json.decode(message.data)
    expected = (f"stagedoor.events.{row['type']}", row["position"], row["stream"], row["version"])
    if (message.subject, body["position"], body["stream"], body["version"]) != expected:
        return f"the message at {row['position']} is {message.subject} of {body['stream']}"
    return ""
