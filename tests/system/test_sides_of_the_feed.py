"""Whichever side of the denial feed is gone or stands still: guards accept nothing past their bound, and heal."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from grpc import aio

from infra.local.system import System
from protos.stagedoor.registry.v1 import registry_pb2
from stagedoor import Allowed, Denied, Guard, HttpKeys, Reason
from stagedoor.feed import Feed
from stagedoor.grpc import GrpcFeed, credentials
from stagedoor.nats import NatsFeed
from tests.support.outside import App, Outside
from tests.support.work import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

_BOUND = 2.0
_HEALED_SECONDS = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outside(system: System) -> AsyncIterator[Outside]:
    async with Outside(system) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guards(system: System) -> AsyncIterator[Mapping[str, Guard]]:
    """One for each way of being fed, as outside teams have them; neither asks anybody."""
    demo = system.demo
    files = [demo["ca"], *demo["validation_client"].values()]
    shown = credentials(*[await asyncio.to_thread(Path(path).read_bytes) for path in files])
    options = (("grpc.ssl_target_name_override", "token_issuer"), ("grpc.max_reconnect_backoff_ms", 500))
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(
            aio.secure_channel(demo["grpc"]["token_issuer"], shown, options=options)
        )
        feeds: dict[str, Feed] = {
            "nats": NatsFeed(demo["nats"], inbox_prefix="_INBOX_resource_server", heartbeat_seconds=0.2),
            "grpc": GrpcFeed(channel, renew_seconds=0.5),
        }
        made = {
            name: Guard(
                issuer=demo["issuer"],
                audience=demo["resources"][0]["identifier"],
                keys=HttpKeys(f"{demo['issuer']}/connect/jwks"),
                feed=feed,
                max_staleness=_BOUND,
            )
            for name, feed in feeds.items()
        }
        for guard in made.values():
            await stack.enter_async_context(guard)
        yield made


async def _disable(outside: Outside, app: App) -> float:
    """When it was acknowledged."""
    request = registry_pb2.DisableApplicationRequest(client_id=app.client_id, reason="it misbehaves")
    await outside.manage(outside.registry.DisableApplication, request)
    return time.monotonic()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", ["killed", "paused"])
@pytest.mark.parametrize("part", ["ledger", "nats", "token_issuer"])
async def test_what_is_taken_back_meanwhile_is_not_accepted_past_the_bound(
    system: System, outside: Outside, guards: Mapping[str, Guard], part: str, how: str
) -> None:
    app = await outside.register_app()
    bad, good = await outside.client_token(app), await outside.client_token(await outside.register_app())

    def all_allow(token: str) -> bool:
        return all(isinstance(guard.check(token), Allowed) for guard in guards.values())

    await eventually(lambda: all_allow(bad) and all_allow(good), _HEALED_SECONDS)
    if how == "killed":
        await system.kill(part)
    else:
        system.pause(part)
    try:
        acknowledged = await _disable(outside, app)
        while (asked := time.monotonic()) < acknowledged + _BOUND + 1:
            for name, guard in guards.items():
                if isinstance(guard.check(bad), Allowed):
                    assert asked <= acknowledged + _BOUND, f"the guard fed over {name} accepts it still"
            await asyncio.sleep(0.02)
    finally:
        if how == "killed":
            await system.start_part(part)
        else:
            system.resume(part)

    def all_deny() -> bool:
        verdicts = [guard.check(bad) for guard in guards.values()]
        assert not any(isinstance(verdict, Allowed) for verdict in verdicts), "it is accepted again"
        return all(isinstance(one, Denied) and one.reason is Reason.DENIED_CLIENT for one in verdicts)

    await eventually(lambda: all_deny() and all_allow(good), _HEALED_SECONDS)
    await system.ready()
