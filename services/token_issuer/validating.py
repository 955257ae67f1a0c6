"""A process that validates tokens and does nothing else: it gives and signs nothing, and reads no private key.

    python -m services.token_issuer.validating      with the token issuer's settings, and no master key

As many of them as there are processors share one gRPC port (SO_REUSEPORT; each has an HTTP port of its own), and each
has a guard of its own over the same log. The token issuer itself listens on another port.
"""

from contextlib import suppress
from pathlib import Path

from starlette.applications import Starlette

from services.identity import events as identity_events
from services.registry import events as registry_events
from services.token_issuer import events, validation
from services.token_issuer.audiences import AudienceCallers
from services.token_issuer.log_clock import LogClock
from services.token_issuer.public_keys import PublicKeys
from services.token_issuer.read_model import Questions
from services.token_issuer.references.checks import ReferenceChecks
from services.token_issuer.references.uses import Uses
from services.token_issuer.settings import Policy, TokenIssuerSettings
from shared.errors import Unavailable
from shared.guards import GUARDS
from shared.http.serve import Check, Readiness, run, serve
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.log.schema import Schema
from shared.log_feed import LogFeed
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from shared.settings import load, read_secret
from shared.telemetry import configure_logging
from shared.tracing import spans
from shared.wake import Wake
from stagedoor import Guard
from stagedoor.validation.v1.validation_pb2_grpc import add_ValidationServicer_to_server


async def main() -> None:
    """Serve until told to stop."""
    settings = load(TokenIssuerSettings)
    configure_logging("token_issuer", settings.log_level)
    spans.begin("token_issuer", settings.trace_ratio)
    policy = Policy.of(settings)
    password = read_secret(settings.database_password_file, "the database password")
    tls = Tls.read(settings)

    log = await Log.open(settings.database, password, Catalogue.of(events, registry_events, identity_events))
    try:
        schema = await Schema.of(log, "token_issuer", Path(__file__).with_name("migrations"))
        clock = LogClock()
        questions = Questions(log.pool, clock.learn)
        keys = PublicKeys(questions)
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
        GUARDS.add(guard)
        uses = Uses(log, questions.references, clock)
        server = RpcServer(settings.grpc_bind, tls, validation.RULES, share_port=True)
        service = validation.ValidationService(
            guard,
            AudienceCallers(log.pool, policy.places),
            log,
            wake,
            settings.heartbeat_seconds,
            references=ReferenceChecks(questions.references, guard, feed, uses, clock),
            questions_at_once=settings.validations_at_once,
            now=lambda: clock().timestamp(),
        )
        server.add(add_ValidationServicer_to_server, service, validation.SERVICE, raw=validation.RAW)

        async def ready() -> Readiness:
            current = guard.ready()
            return Readiness({"denials": Check(ok=current, detail="" if current else "denials or keys are not known")})

        # Time and keys are known before the first request; where they cannot be, `keys.run` goes on trying.
        with suppress(Unavailable):
            await keys.look()
        await serve(
            settings, Starlette(), server, ready, [schema.run(), wake.run(), keys.run(wake), guard.run(), uses.run()]
        )
    finally:
        await log.close()


if __name__ == "__main__":
    run(main())
