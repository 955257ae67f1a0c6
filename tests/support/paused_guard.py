"""The guard of `tests.support.guard_process`, as a test sees it, and what has to hold when it stands still."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from services.registry import events as registry
from tests.support.facts import Facts
from tests.support.sdk_tokens import SigningKey

BOUND = 1.0
"""`max_staleness`."""


class GuardProcess:
    """A guard that answers line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def hear(self) -> str:
        assert self._process.stdout is not None
        return (await asyncio.wait_for(self._process.stdout.readline(), 20)).decode().strip()

    async def ask(self, token: str) -> str:
        await self.say(token)
        return await self.hear()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


@asynccontextmanager
async def guard_process(key: SigningKey, feed: Mapping[str, Any]) -> AsyncIterator[GuardProcess]:
    """One that is ready, fed in this way."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.guard_process"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    made = GuardProcess(process)
    try:
        await made.say(json.dumps({"jwk": key.jwk, **feed, "max_staleness": BOUND}))
        assert await made.hear() == "ready"
        yield made
    finally:
        process.kill()
        await process.wait()


async def disable_while_it_stands_still(facts: Facts, guard: GuardProcess, client_id: str, token: str) -> None:
    """What is revoked meanwhile is never accepted past the bound, whatever lies in its buffers."""
    await asyncio.wait_for(_until(guard, token, "allowed"), 15)
    guard.signal(signal.SIGSTOP)
    await facts.write("application-b", registry.ApplicationDisabled(client_id=client_id, reason="it misbehaves"))
    await guard.say(token)
    await asyncio.sleep(BOUND + 0.3)
    guard.signal(signal.SIGCONT)
    assert await guard.hear() in ("too_stale", "denied_client")
    await asyncio.wait_for(_until(guard, token, "denied_client"), 15)


async def _until(guard: GuardProcess, token: str, wanted: str) -> None:
    while (found := await guard.ask(token)) != wanted:
        assert found in ("too_stale", wanted)
        await asyncio.sleep(0.02)
