"""Work over NATS that goes on for ever: one connection after another, and one log line for each change of state."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Never

from nats import errors
from nats.aio.client import Client

from shared.log.append import LogUnavailable
from shared.messaging.access import NatsAccess
from shared.telemetry import logger
from stagedoor.cancellation import obey_cancellation

_log = logger(__name__)

FAILURES = (errors.Error, OSError, TimeoutError, LogUnavailable)
"""What ends a session, and is tried again: NATS or PostgreSQL out of reach, or an answer that was not expected."""
_RETRY_SECONDS = (0.1, 2.0)


@dataclass(frozen=True, slots=True)
class Session:
    """One connection, and the work's word on how it goes."""

    client: Client
    closed: asyncio.Event
    """Set when the connection is gone."""
    goes_on: Callable[[], None]
    """To be called when the work is under way again."""

    def check(self) -> None:
        """Raise if the connection is gone, or if the work was cancelled; to be called before every longer wait."""
        obey_cancellation()
        if self.closed.is_set():
            raise errors.ConnectionClosedError


async def keep(access: NatsAccess, what: str, work: Callable[[Session], Awaitable[None]]) -> Never:
    """Do `work` over one connection after another, for ever; whatever is not one of `FAILURES` is raised."""
    shortest, longest = _RETRY_SECONDS
    delay, interrupted = shortest, False

    def goes_on() -> None:
        nonlocal delay, interrupted
        if interrupted:
            _log.info("work_goes_on", work=what)
        delay, interrupted = shortest, False

    while True:
        try:
            await _once(access, work, goes_on)
        except FAILURES as failure:
            if not interrupted:
                _log.warning("work_interrupted", work=what, why=type(failure).__name__, what=str(failure)[:200])
            interrupted = True
        obey_cancellation()
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  (parts replicas, no secret)
        delay = min(2 * delay, longest)


async def _once(access: NatsAccess, work: Callable[[Session], Awaitable[None]], goes_on: Callable[[], None]) -> None:
    gone = asyncio.Event()

    async def closed() -> None:
        gone.set()

    client = await access.connect(closed)
    try:
        obey_cancellation()
        await work(Session(client, gone, goes_on))
    finally:
        with suppress(*FAILURES):
            await client.close()
