"""The token issuer, put together: settings, wiring, serve."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from envoy.service.auth.v3.external_auth_pb2_grpc import (
    add_AuthorizationServicer_to_server as add_EnvoyServicer_to_server,
)

from protos.stagedoor.readmodels.v1.readmodels_pb2_grpc import add_ReadModelsServicer_to_server
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import (
    add_AuthorizationServicer_to_server,
    add_LogoutsServicer_to_server,
    add_OwnAccessServicer_to_server,
    add_TokensServicer_to_server,
)
from services.identity import events as identity_events
from services.registry import events as registry_events
from services.token_issuer import envoy, events, rpc, validation
from services.token_issuer.assertions.keys import ClientKeys
from services.token_issuer.audiences import AudienceCallers
from services.token_issuer.authorization.device_codes import UserCodes
from services.token_issuer.backchannel import causes
from services.token_issuer.backchannel import rpc as logouts_rpc
from services.token_issuer.backchannel.deliveries import AT_ONCE, Deliveries
from services.token_issuer.backchannel.tables import LogoutQuestions
from services.token_issuer.gateway import Gateway, judge_by
from services.token_issuer.http import application
from services.token_issuer.issuer import Issuer
from services.token_issuer.keys import KeyRing
from services.token_issuer.log_clock import LogClock
from services.token_issuer.projections import PROJECTIONS
from services.token_issuer.pruning import prune_repeatedly
from services.token_issuer.read_model import Questions
from services.token_issuer.references import forgetting
from services.token_issuer.references import rpc as own_rpc
from services.token_issuer.references.checks import ReferenceChecks
from services.token_issuer.references.uses import Uses
from services.token_issuer.refreshing import RefreshTokens
from services.token_issuer.sealing import Sealing
from services.token_issuer.settings import Policy, TokenIssuerSettings
from services.token_issuer.subscriptions import PROJECTION, SOURCES, project
from shared.errors import Refusal, Unavailable
from shared.guards import GUARDS
from shared.http.attempts import Attempts
from shared.http.client_address import ClientAddresses
from shared.http.outgoing import Outgoing, Reach
from shared.http.serve import Check, Readiness, run, serve
from shared.keys import MasterKey
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.log.schema import Schema
from shared.log_feed import LogFeed
from shared.management import Management
from shared.messaging.access import NatsAccess
from shared.messaging.follower import Follower
from shared.rebuild import rpc as rebuilding
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from shared.settings import load, read_secret
from shared.telemetry import configure_logging
from shared.tracing import spans
from shared.wake import Wake
from stagedoor import Guard
from stagedoor.validation.v1.validation_pb2_grpc import add_ValidationServicer_to_server

_FETCHED_AT_ONCE = 8
_FETCH_SECONDS = 5.0
"""Of sets of keys of applications."""
_RULES = {
    **rpc.RULES,
    **own_rpc.RULES,
    **logouts_rpc.RULES,
    **validation.RULES,
    **envoy.RULES,
    **rebuilding.RULES,
}
"""Who may call what."""


async def main() -> None:
    """Serve until told to stop."""
    settings = load(TokenIssuerSettings)
    configure_logging("token_issuer", settings.log_level)
    spans.begin("token_issuer", settings.trace_ratio)
    policy, mutual_tls = Policy.of(settings), settings.mutual_tls
    master = MasterKey.read(settings.master_key_file)
    password = read_secret(settings.database_password_file, "the database password")
    nats, tls = NatsAccess.read(settings), Tls.read(settings)

    jwks_reach = Reach(loopback=settings.demo, networks=settings.jwks_networks)
    fetching = Outgoing(jwks_reach, at_once=_FETCHED_AT_ONCE, seconds=_FETCH_SECONDS)
    log = await Log.open(settings.database, password, Catalogue.of(events, registry_events, identity_events))
    try:
        schema = await Schema.of(log, "token_issuer", Path(__file__).with_name("migrations"))
        clock = LogClock()
        questions = Questions(log.pool, clock.learn)
        keys = KeyRing(log, questions, master, policy.keys)
        follower = Follower(log, PROJECTION, SOURCES, project, nats)
        wake = Wake(log)
        feed = LogFeed(log, wake)
        guard = Guard(
            issuer=policy.issuer,
            audience=policy.places.management,
            feed=feed,
            keys=keys,
            max_staleness=settings.max_staleness_seconds,
            proof_window=settings.dpop_proof_seconds,
            now=lambda: clock().timestamp(),
        )
        issuer = Issuer(
            log=log,
            questions=questions,
            following=follower,
            keys=keys,
            sealing=Sealing(master, policy.authorization),
            refresh_tokens=RefreshTokens(master),
            user_codes=UserCodes(master),
            policy=policy,
            clock=clock,
            client_keys=ClientKeys(fetching, demo=settings.demo),
            mutual_tls=mutual_tls,
            attempts=Attempts(ClientAddresses(settings.proxies), settings.attempts),
        )
        uses = Uses(log, questions.references, clock)
        references = ReferenceChecks(questions.references, guard, feed, uses, clock)
        GUARDS.add(guard)
        management = Management(guard)
        reach = Reach(loopback=settings.demo, networks=settings.logout_networks)
        ended = Follower(log, causes.PROJECTION, causes.SOURCES, causes.project, nats)
        erased = Follower(log, forgetting.PROJECTION, forgetting.SOURCES, forgetting.project, nats)
        deliveries = Deliveries(issuer, Outgoing(reach, at_once=AT_ONCE))
        server = RpcServer(settings.grpc_bind, tls, _RULES, management.authenticate)
        server.add(add_AuthorizationServicer_to_server, rpc.AuthorizationService(issuer), rpc.AUTHORIZATION)
        server.add(add_TokensServicer_to_server, rpc.TokensService(issuer), rpc.TOKENS)
        server.add(add_OwnAccessServicer_to_server, own_rpc.OwnAccessService(issuer), own_rpc.OWN_ACCESS)
        logouts = logouts_rpc.LogoutsService(LogoutQuestions(log.pool))
        server.add(add_LogoutsServicer_to_server, logouts, logouts_rpc.LOGOUTS)
        server.add(add_ReadModelsServicer_to_server, rebuilding.ReadModelsService(log, PROJECTIONS), rebuilding.SERVICE)
        callers = AudienceCallers(log.pool, policy.places)
        service = validation.ValidationService(
            guard,
            callers,
            log,
            wake,
            settings.heartbeat_seconds,
            references=references,
            questions_at_once=settings.validations_at_once,
            now=lambda: clock().timestamp(),
        )
        server.add(add_ValidationServicer_to_server, service, validation.SERVICE, raw=validation.RAW)
        gateway = Gateway(judge_by(guard, references), callers)
        server.add(add_EnvoyServicer_to_server, envoy.EnvoyService(gateway), envoy.SERVICE, raw=envoy.RAW)

        async def ready() -> Readiness:
            return Readiness(
                {
                    "log": await _reachable(log),
                    "keys": _keys(keys),
                    "view": follower.readiness(),
                    # Told for people to see: whoever is told of logouts late is no reason to issue nothing.
                    "logouts": replace(ended.readiness(), ok=True),
                    "erasures": replace(erased.readiness(), ok=True),
                    "read_models": await rebuilding.up_to_date(log, PROJECTIONS),
                    "denials": management.readiness(),
                }
            )

        # Time and keys are known before the first request; where they cannot be, `keys.run` goes on trying.
        with suppress(Unavailable):
            await keys.look()
        background = [
            *(schema.run(), wake.run(), follower.run(), guard.run(), uses.run(), keys.run(wake)),
            *(ended.run(), erased.run(), deliveries.run(), prune_repeatedly(log.pool, settings.pruning_seconds)),
        ]
        await serve(settings, application(issuer, guard, references, gateway), server, ready, background)
    finally:
        await log.close()
        await fetching.close()


def _keys(keys: KeyRing) -> Check:
    """Whether there are keys that may sign now."""
    if not keys.loaded:
        return Check(ok=False, detail="there are no signing keys yet")
    return Check(ok=keys.current, detail="" if keys.current else "the signing keys could not be looked up lately")


async def _reachable(log: Log) -> Check:
    try:
        head = await log.head()
    except Refusal as refusal:
        return Check(ok=False, detail=refusal.message)
    return Check(ok=True, detail=f"at position {head.position}")


if __name__ == "__main__":
    run(main())
