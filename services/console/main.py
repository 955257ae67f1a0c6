"""The console, put together: settings, wiring, serve."""

import asyncio
import ssl
from itertools import chain, repeat
from typing import Any, Final

import grpc
import httpx

from protos.stagedoor.registry.v1 import system_pb2
from protos.stagedoor.registry.v1.system_pb2_grpc import SystemApplicationsStub
from services.console.calls import Calls
from services.console.client import Client
from services.console.http import application
from services.console.pages.site import STATIC, TEMPLATES, Site, cookies_at
from services.console.sessions import SessionTable
from services.console.settings import ConsoleSettings
from shared.clock import system_clock
from shared.errors import Refusal
from shared.http.client_address import ClientAddresses
from shared.http.serve import Check, Readiness, run, serve
from shared.keys import MasterKey
from shared.pages.forms import Forms
from shared.pages.rendering import Pages
from shared.rate_limit import Budget, RateLimit
from shared.rpc.client import channel, translate
from shared.rpc.tls import Tls
from shared.settings import load
from shared.telemetry import configure_logging, logger
from shared.tracing import spans

_WAITS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts while the registry cannot be reached; the last one is repeated."""
_ANSWERS: Final = Budget(burst=20, fade_seconds=5)
"""Invented answers of one network; the issuer's patience with the console is a hundred, and two more each second."""
_REQUEST_SECONDS: Final = 10.0

_log = logger(__name__)


class Announcing:
    """Has the registry trust the console with the key that it signs with."""

    def __init__(self, registry: SystemApplicationsStub, jwks: str) -> None:
        self._registry = registry
        self._jwks = jwks
        self.done = False

    async def run(self) -> None:
        """Announce it, and try again for as long as the registry cannot decide."""
        request = system_pb2.RegisterConsoleRequest(jwks=self._jwks)
        ask: Any = self._registry.RegisterConsole
        for wait in chain(_WAITS, repeat(_WAITS[-1])):
            try:
                await ask(request)
            except grpc.aio.AioRpcError as error:
                refusal: Refusal = translate(error)
                _log.warning("the console is not registered yet", reason=refusal.code)
                await asyncio.sleep(wait)
            else:
                self.done = True
                return


async def main() -> None:
    """Serve until told to stop."""
    settings = load(ConsoleSettings)
    configure_logging("console", settings.log_level)
    spans.begin("console", settings.trace_ratio)
    master, tls = MasterKey.read(settings.master_key_file), Tls.read(settings)
    base = f"{settings.origin}/console"
    channels = {
        "registry": channel(settings.registry_address, tls, "registry"),
        "identity": channel(settings.identity_address, tls, "identity"),
        "token_issuer": channel(settings.token_issuer_address, tls, "token_issuer"),
        "ledger": channel(settings.ledger_address, tls, "ledger"),
    }
    trust = ssl.create_default_context(cafile=settings.issuer_ca_file)
    async with httpx.AsyncClient(timeout=_REQUEST_SECONDS, trust_env=False, verify=trust) as http:
        client = Client(settings.issuer, base, master, http)
        announcing = Announcing(SystemApplicationsStub(channels["registry"]), client.jwks)
        site = Site(
            pages=Pages(base, TEMPLATES, demo=settings.demo, static=STATIC),
            cookies=cookies_at(base),
            forms=Forms(master, base, system_clock, settings.page),
            sessions=SessionTable(settings.most_sessions),
            client=client,
            calls=Calls(channels),
            origin=settings.origin,
            issuer=settings.issuer,
            addresses=ClientAddresses(settings.proxies),
            answers=RateLimit(_ANSWERS),
        )

        async def ready() -> Readiness:
            words = "" if announcing.done else "the registry does not know the console's key yet"
            return Readiness({"registered": Check(ok=announcing.done, detail=words)})

        try:
            app = application(site, base, settings.most_followers)
            await serve(settings, app, None, ready, [announcing.run()])
        finally:
            for one in channels.values():
                await one.close(None)


if __name__ == "__main__":
    run(main())
