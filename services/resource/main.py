"""The resource service, put together: settings, wiring, serve.

For tokens it uses what any other team would: the public SDK, denials over NATS, and questions to the issuer's public
`Validate` for what those cannot decide.
"""

from pathlib import Path

from services.resource import events
from services.resource.http import application, identifier
from shared.errors import Refusal
from shared.guards import GUARDS
from shared.http.serve import Check, Readiness, run, serve
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.log.schema import Schema
from shared.messaging.access import NatsAccess
from shared.rpc.client import channel
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from shared.settings import ServiceSettings, load, read_secret
from shared.telemetry import configure_logging
from shared.tracing import spans
from stagedoor import Guard
from stagedoor.grpc import GrpcOnline
from stagedoor.keys import HttpKeys


async def main() -> None:
    """Serve until told to stop."""
    settings = load(ServiceSettings)
    configure_logging("resource", settings.log_level)
    spans.begin("resource", settings.trace_ratio)
    password = read_secret(settings.database_password_file, "the database password")
    nats = NatsAccess.read(settings)
    tls = Tls.read(settings)
    issuer = channel(settings.token_issuer_address, tls, "token_issuer")
    guard = Guard(
        issuer=settings.issuer,
        audience=identifier(settings.origin),
        feed=nats.feed(settings.heartbeat_seconds),
        keys=HttpKeys(f"{settings.issuer}/connect/jwks", ca_file=settings.issuer_ca_file),
        online=GrpcOnline(issuer),
        max_staleness=settings.max_staleness_seconds,
    )
    GUARDS.add(guard)
    log = await Log.open(settings.database, password, Catalogue.of(events))
    try:
        schema = await Schema.of(log, "resource", Path(__file__).with_name("migrations"))
        certificates = settings.client_certificates
        app = application(guard, log, origin=settings.origin, issuer=settings.issuer, client_certificates=certificates)

        async def ready() -> Readiness:
            return Readiness({"log": await _reachable(log), "tokens": tokens(guard)})

        # Its API is HTTP; over gRPC there is its health, as with every service.
        await serve(settings, app, RpcServer(settings.grpc_bind, tls, {}, None), ready, [schema.run(), guard.run()])
    finally:
        await issuer.close(None)
        await log.close()


def tokens(guard: Guard) -> Check:
    """Whether tokens can be judged: from here, or where the denials are too old, by asking."""
    if guard.ready():
        return Check(ok=True)
    return Check(ok=guard.begun, detail="asking the issuer" if guard.begun else "denials or keys are not known yet")


async def _reachable(log: Log) -> Check:
    try:
        head = await log.head()
    except Refusal as refusal:
        return Check(ok=False, detail=refusal.message)
    return Check(ok=True, detail=f"at position {head.position}")


if __name__ == "__main__":
    run(main())
