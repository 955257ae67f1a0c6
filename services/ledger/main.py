"""The ledger, put together: settings, wiring, serve."""

import asyncio
from datetime import timedelta
from pathlib import Path

from starlette.applications import Starlette

from protos.stagedoor.ledger.v1.ledger_pb2_grpc import add_LedgerServicer_to_server
from services.identity import events as identity_events
from services.identity import history as identity
from services.ledger import events
from services.ledger.archiving import Archiving
from services.ledger.care import Care
from services.ledger.rpc import RULES, SERVICE, LedgerService
from services.ledger.settings import LedgerSettings
from services.registry import events as registry_events
from services.registry import history as registry
from services.resource import events as resource_events
from services.token_issuer import events as issuer_events
from services.token_issuer import history as token_issuer
from shared.clock import system_clock
from shared.errors import Refusal
from shared.evidence.checkpoints import Signer
from shared.evidence.keeping import Evidence
from shared.feed import DenialFeed
from shared.guards import GUARDS
from shared.http.serve import Check, Readiness, run, serve
from shared.keys import MasterKey
from shared.leadership import Leadership
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.log.schema import Schema
from shared.log_feed import LogFeed
from shared.management import Management, audience
from shared.messaging import NatsAccess
from shared.relay import Relay
from shared.relay_lag import RelayLag
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from shared.settings import load, read_secret
from shared.telemetry import configure_logging
from shared.tracing import spans
from shared.wake import Wake
from stagedoor import Guard
from stagedoor.keys import HttpKeys

HISTORIES = (registry.HISTORY, identity.HISTORY, token_issuer.HISTORY)
"""What the services tell of the past."""


async def main() -> None:
    """Serve until told to stop."""
    settings = load(LedgerSettings)
    configure_logging("ledger", settings.log_level)
    spans.begin("ledger", settings.trace_ratio)
    password = read_secret(settings.database_password_file, "the database password")
    nats = NatsAccess.read(settings)
    tls = Tls.read(settings)

    facts = Catalogue.of(events, registry_events, identity_events, issuer_events, resource_events)
    log = await Log.open(settings.database, password, facts)
    try:
        schema = await Schema.of(log, "ledger", Path(__file__).with_name("migrations"))
        wake = Wake(log)
        relay = Relay(log, wake, nats, replicas=settings.nats_replicas)
        feed = DenialFeed(log, wake, nats, settings.heartbeat_seconds)
        care = Care(log, settings.care_seconds, settings.care_alarm_seconds)
        evidence = _evidence(settings, log)
        archiving = _archiving(settings, log, evidence)
        leadership = Leadership(settings.database, password, "ledger")
        guard = Guard(
            issuer=settings.issuer,
            audience=audience(settings),
            feed=LogFeed(log, wake),
            keys=HttpKeys(f"{settings.issuer}/connect/jwks", ca_file=settings.issuer_ca_file),
            max_staleness=settings.max_staleness_seconds,
        )
        GUARDS.add(guard)
        management = Management(guard)
        rpc = RpcServer(settings.grpc_bind, tls, RULES, management.authenticate)
        service = LedgerService(log, wake, management.authenticate, evidence, HISTORIES)
        rpc.add(add_LedgerServicer_to_server, service, SERVICE)

        async def lead() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(relay.run())
                tasks.create_task(feed.publish())
                tasks.create_task(care.take())
                if evidence is not None:
                    tasks.create_task(evidence.keep())
                if archiving is not None:
                    tasks.create_task(archiving.keep())

        async def ready() -> Readiness:
            return Readiness(
                {
                    "log": await _reachable(log),
                    "relay": await _relaying(log, relay, leadership),
                    "feed": feed.readiness(),
                    "care": care.readiness(),
                    "evidence": _proving(evidence, leadership),
                    "archive": _archives(archiving, leadership),
                    "replication": care.replication(
                        required=settings.require_synchronous_replication, demo=settings.demo
                    ),
                    "tokens": management.readiness(),
                }
            )

        background = [schema.run(), wake.run(), leadership.run(lead), feed.answer(), care.watch(), management.run()]
        background.append(RelayLag(log, nats).watch())
        await serve(settings, Starlette(), rpc, ready, background)
    finally:
        await log.close()


def _evidence(settings: LedgerSettings, log: Log) -> Evidence | None:
    """What keeps the tree of hashes, if there is a place for it."""
    if settings.evidence_folder is None:
        return None
    return Evidence(
        log,
        settings.evidence_folder,
        _signer(settings),
        settings.checkpoint_seconds,
        system_clock,
        settings.archive_folder,
    )


def _archiving(settings: LedgerSettings, log: Log, evidence: Evidence | None) -> Archiving | None:
    """What lets go of old events, if there is a place for them and for the hashes that are left of them."""
    if settings.archive_folder is None or evidence is None or settings.retention_days == 0:
        return None
    retention = timedelta(days=settings.retention_days)
    return Archiving(log, evidence, _signer(settings), settings.archive_folder, retention, settings.care_seconds)


def _signer(settings: LedgerSettings) -> Signer:
    return Signer(MasterKey.read(settings.master_key_file), settings.issuer)


def _proving(evidence: Evidence | None, leadership: Leadership) -> Check:
    """A log that was tampered with is no reason to take the ledger away: that is when it is asked for its evidence."""
    if evidence is None:
        return Check(ok=True, detail="no folder for checkpoints is set")
    if alarm := evidence.alarm:
        return Check(ok=True, detail=f"BROKEN: {alarm}")
    return Check(ok=True, detail="checkpoints are made" if leadership.leading else "another replica makes checkpoints")


def _archives(archiving: Archiving | None, leadership: Leadership) -> Check:
    if archiving is None:
        return Check(ok=True, detail="expiring events stay in the log")
    return archiving.readiness() if leadership.leading else Check(ok=True, detail="another replica archives")


async def _reachable(log: Log) -> Check:
    try:
        head = await log.head()
    except Refusal as refusal:
        return Check(ok=False, detail=refusal.message)
    return Check(ok=True, detail=f"at position {head.position}")


async def _relaying(log: Log, relay: Relay, leadership: Leadership) -> Check:
    """A replica that does not lead is ready all the same: it may any moment."""
    if not leadership.leading:
        return Check(ok=True, detail="another replica leads")
    if relay.position is None:
        return Check(ok=False, detail="the stream cannot be reached, or is being made anew")
    lag = (await log.head()).position - relay.position
    return Check(ok=True, detail="leading", lag=max(0, lag))


if __name__ == "__main__":
    run(main())
