"""The token issuer, put together: settings, wiring, serve."""

import asyncio
from itertools import chain, repeat

from protos.stagedoor.tokens.v1.tokens_pb2_grpc import (
    add_AuthorizationServicer_to_server,
    add_TokensServicer_to_server,
)
from services.identity import events as identity_events
from services.registry import events as registry_events
from services.token_issuer import events, rpc, validation
from services.token_issuer.audiences import AudienceCallers
from services.token_issuer.http import application
from services.token_issuer.issuer import Issuer
from services.token_issuer.keys import KeyRing
from services.token_issuer.log_clock import LogClock
from services.token_issuer.read_model import Questions
from services.token_issuer.refreshing import RefreshTokens
from services.token_issuer.sealing import Sealing
from services.token_issuer.settings import Policy, TokenIssuerSettings
from services.token_issuer.subscriptions import PROJECTION, SOURCES, project
from shared.errors import Refusal, Unavailable
from shared.http.serve import Check, Readiness, run, serve
from shared.keys import MasterKey
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.log_feed import LogFeed
from shared.management import Management
from shared.messaging.access import NatsAccess
from shared.messaging.follower import Follower
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from shared.settings import load, read_secret
from shared.telemetry import configure_logging, logger
from shared.wake import Wake
from stagedoor import Guard
from stagedoor.validation.v1.validation_pb2_grpc import add_ValidationServicer_to_server

_log = logger(__name__)

_WAITS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts while the log cannot be reached; the last one is repeated."""


async def main() -> None:
    """Serve until told to stop."""
    settings = load(TokenIssuerSettings)
    configure_logging("token_issuer", settings.log_level)
    policy = Policy.of(settings)
    master = MasterKey.read(settings.master_key_file)
    password = read_secret(settings.database_password_file, "the database password")
    nats, tls = NatsAccess.read(settings), Tls.read(settings)

    log = await Log.open(settings.database, password, Catalogue.of(events, registry_events, identity_events))
    try:
        clock = LogClock()
        questions = Questions(log.pool, clock.learn)
        keys = KeyRing(log, questions, master)
        follower = Follower(log, PROJECTION, SOURCES, project, nats)
        wake = Wake(log)
        guard = Guard(
            issuer=policy.issuer,
            audience=policy.places.management,
            feed=LogFeed(log, wake),
            keys=keys,
            max_staleness=settings.max_staleness_seconds,
            now=lambda: clock().timestamp(),
        )
        issuer = Issuer(
            log=log,
            questions=questions,
            following=follower,
            keys=keys,
            sealing=Sealing(master, policy.authorization),
            refresh_tokens=RefreshTokens(master),
            policy=policy,
            clock=clock,
        )
        management = Management(guard)
        server = RpcServer(settings.grpc_bind, tls, {**rpc.RULES, **validation.RULES}, management.authenticate)
        server.add(add_AuthorizationServicer_to_server, rpc.AuthorizationService(issuer), rpc.AUTHORIZATION)
        server.add(add_TokensServicer_to_server, rpc.TokensService(issuer), rpc.TOKENS)
        callers = AudienceCallers(log.pool, policy.places)
        service = validation.ValidationService(guard, callers, log, wake, settings.heartbeat_seconds)
        server.add(add_ValidationServicer_to_server, service, validation.SERVICE)

        async def ready() -> Readiness:
            return Readiness(
                {
                    "log": await _reachable(log),
                    "keys": Check(ok=keys.loaded, detail="" if keys.loaded else "there are no signing keys yet"),
                    "view": follower.readiness(),
                    "denials": management.readiness(),
                }
            )

        background = [wake.run(), follower.run(), guard.run(), _prepare(keys)]
        await serve(settings, application(issuer, guard), server, ready, background)
    finally:
        await log.close()


async def _prepare(keys: KeyRing) -> None:
    """Have signing keys, and try again for as long as the log cannot be reached."""
    for wait in chain(_WAITS, repeat(_WAITS[-1])):
        try:
            await keys.prepare()
        except Unavailable as failure:
            _log.warning("there are no signing keys yet", reason=failure.code)
            await asyncio.sleep(wait)
        else:
            return


async def _reachable(log: Log) -> Check:
    try:
        head = await log.head()
    except Refusal as refusal:
        return Check(ok=False, detail=refusal.message)
    return Check(ok=True, detail=f"at position {head.position}")


if __name__ == "__main__":
    run(main())
