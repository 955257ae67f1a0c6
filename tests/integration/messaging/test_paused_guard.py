"""A guard whose process stands still does not take what lay in its buffers for news."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from services.registry import events as registry
from shared.feed import DenialFeed
from shared.wake import Wake
from tests.support.facts import Facts
from tests.support.nats import NatsServer
from tests.support.sdk_tokens import SigningKey, claims
from tests.support.work import Work, eventually

_BOUND = 1.0
_KEY = SigningKey()
_APP = "com.backstagehub/app"


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


@pytest.fixture
async def guard(facts: Facts, nats_server: NatsServer, work: Work) -> AsyncIterator[GuardProcess]:
    """It and the ledger's feed, which no issuer is needed for."""
    log = await facts.log("ledger")
    await facts.write("application-x", registry.SecretAdded(client_id="x", secret_id="s", secret_digest="d"))
    wake = Wake(log)
    feed = DenialFeed(log, wake, nats_server.access("ledger"), 0.1)
    for task in (wake.run(), feed.publish(), feed.answer()):
        work.start(task)
    await eventually(lambda: feed.readiness().ok)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.guard_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    access = nats_server.access("resource")
    nats = {
        "url": access.url,
        "user": access.user,
        "password": access.password,
        "inbox_prefix": access.inbox_prefix.decode(),
    }
    made = GuardProcess(process)
    try:
        await made.say(json.dumps({"jwk": _KEY.jwk, "nats": nats, "max_staleness": _BOUND}))
        assert await made.hear() == "ready"
        yield made
    finally:
        process.kill()
        await process.wait()


async def test_what_was_revoked_while_it_stood_still_is_never_accepted_past_the_bound(
    facts: Facts, guard: GuardProcess
) -> None:
    token = _KEY.sign(claims(pos=1, client_id=_APP))
    assert await guard.ask(token) == "allowed"
    guard.signal(signal.SIGSTOP)
    await facts.write("application-b", registry.ApplicationDisabled(client_id=_APP, reason="it misbehaves"))
    await guard.say(token)
    await asyncio.sleep(_BOUND + 0.3)
    guard.signal(signal.SIGCONT)
    assert await guard.hear() in ("too_stale", "denied_client")
    await asyncio.wait_for(_until(guard, token, "denied_client"), 15)


async def _until(guard: GuardProcess, token: str, wanted: str) -> None:
    while (found := await guard.ask(token)) != wanted:
        assert found in ("too_stale", wanted)
        await asyncio.sleep(0.02)
