"""The identity service, put together: settings, wiring, serve."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, repeat
from pathlib import Path

import grpc
from starlette.applications import Starlette

from protos.stagedoor.identity.v1.identity_pb2_grpc import add_IdentityServicer_to_server
from protos.stagedoor.readmodels.v1.readmodels_pb2_grpc import add_ReadModelsServicer_to_server
from services.identity import events
from services.identity.accounts import Accounts
from services.identity.consents import Consents
from services.identity.erasure import Erasure
from services.identity.failed_sign_ins import FailedSignIns
from services.identity.http import application
from services.identity.installing import Installing
from services.identity.issuer import Issuer
from services.identity.management_tokens import ManagementTokens, Redeem, TokenEndpoint
from services.identity.opening import Lifetimes
from services.identity.own_access import OwnAccess
from services.identity.own_passkeys import OwnPasskeys
from services.identity.own_second_factor import OwnSecondFactor
from services.identity.pages.cookies import cookies_of
from services.identity.pages.pending import Seals
from services.identity.pages.site import STATIC, TEMPLATES, Site
from services.identity.passkeys import Passkeys
from services.identity.passwords import Passwords
from services.identity.personal_keys import PersonalKeyRing
from services.identity.projections import PROJECTIONS
from services.identity.read_model import DEMO, Questions
from services.identity.recovery_codes import RecoveryCodes
from services.identity.relying_party import RelyingParty
from services.identity.rpc import RULES, SERVICE, IdentityService
from services.identity.second_factor import SecondFactor
from services.identity.sessions import Sessions
from services.identity.settings import IdentitySettings
from services.identity.subscriptions import PROJECTION, SOURCES, project_registry
from services.identity.throttle import Throttle
from services.identity.totp import Seeds
from services.identity.userinfo import Userinfo, metadata_address
from services.registry import events as registry_events
from shared.clock import Clock, system_clock
from shared.errors import Refusal, Unavailable
from shared.guards import GUARDS
from shared.http.attempts import Attempts
from shared.http.client_address import ClientAddresses
from shared.http.serve import Check, Readiness, run, serve
from shared.keys import MasterKey
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.log.schema import Schema
from shared.management import Management
from shared.messaging.access import NatsAccess
from shared.messaging.follower import Follower
from shared.pages.forms import Forms
from shared.pages.rendering import Pages
from shared.rebuild import rpc as rebuilding
from shared.rpc.client import channel
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from shared.settings import load, read_secret
from shared.telemetry import configure_logging, logger
from shared.tracing import spans
from stagedoor import Guard
from stagedoor.grpc import GrpcOnline
from stagedoor.keys import HttpKeys

_WAITS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts while the log cannot be reached; the last one is repeated."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The service, put together but for what leads to other processes."""

    app: Starlette
    rpc: IdentityService
    questions: Questions
    accounts: Accounts
    own_second_factor: OwnSecondFactor
    erasure: Erasure
    sessions: Sessions
    failures: FailedSignIns
    consents: Consents
    passwords: Passwords


def assemble(  # noqa: PLR0913  (what it is made of)
    settings: IdentitySettings,
    *,
    master: MasterKey,
    keys: PersonalKeyRing,
    log: Log,
    issuer: grpc.aio.Channel,
    registry: grpc.aio.Channel,
    redeem: Redeem,
    guard: Guard,
    clock: Clock,
) -> Parts:
    """Put the parts together. `keys` is the ring that `log` was opened with, `redeem` asks the token endpoint."""
    lifetimes = Lifetimes(
        idle=timedelta(seconds=settings.session_idle_seconds),
        absolute=timedelta(seconds=settings.session_seconds),
    )
    page = timedelta(seconds=settings.page_seconds)
    questions = Questions(log.pool, idle=lifetimes.idle)
    keys.read_from(questions)
    passwords = Passwords(settings.argon2, workers=settings.password_workers, queue=settings.password_queue)
    throttle = Throttle(log.pool, master, settings.limits, clock)
    failures = FailedSignIns(log, clock)
    seeds, recovery_codes = Seeds(master), RecoveryCodes(master)
    passkeys = Passkeys(
        log,
        party=RelyingParty.of(settings.issuer),
        users=questions,
        throttle=throttle,
        failures=failures,
        master=master,
        clock=clock,
    )
    own_passkeys = OwnPasskeys(log, passkeys=passkeys, keys=keys, recovery_codes=recovery_codes, clock=clock)
    second_factor = SecondFactor(
        questions=questions,
        seeds=seeds,
        recovery_codes=recovery_codes,
        passkeys=passkeys,
        throttle=throttle,
        failures=failures,
        clock=clock,
    )
    sessions = Sessions(
        log,
        questions=questions,
        keys=keys,
        passwords=passwords,
        throttle=throttle,
        second_factor=second_factor,
        passkeys=passkeys,
        failures=failures,
        clock=clock,
        lifetimes=lifetimes,
    )
    accounts = Accounts(
        log,
        questions=questions,
        keys=keys,
        passwords=passwords,
        throttle=throttle,
        master=master,
        demo=settings.demo,
    )
    own_second_factor = OwnSecondFactor(
        log,
        questions=questions,
        passwords=passwords,
        throttle=throttle,
        second_factor=second_factor,
        seeds=seeds,
        recovery_codes=recovery_codes,
        own_passkeys=own_passkeys,
    )
    erasure = Erasure(log, questions, throttle)
    consents = Consents(log, questions)

    async def head() -> int:
        found = await log.head()
        return found.position

    addresses = ClientAddresses(settings.proxies)
    site = Site(
        pages=Pages(settings.issuer, TEMPLATES, demo=settings.demo, static=STATIC),
        cookies=cookies_of(settings.issuer),
        forms=Forms(master, settings.issuer, clock, page),
        seals=Seals(master, clock, page),
        sessions=sessions,
        consents=consents,
        accounts=accounts,
        own_second_factor=own_second_factor,
        passkeys=passkeys,
        own_passkeys=own_passkeys,
        issuer=Issuer(issuer),
        throttle=throttle,
        own_access=OwnAccess(issuer),
        installing=Installing(registry, ManagementTokens(Issuer(issuer), settings.issuer, redeem, head)),
        head=head,
        clock=clock,
        addresses=addresses,
        attempts=Attempts(addresses, settings.attempts),
    )
    userinfo = Userinfo(
        questions, guard, Issuer(issuer), metadata_address(settings.issuer), settings.client_certificates
    )
    rpc = IdentityService(
        log,
        accounts=accounts,
        own_second_factor=own_second_factor,
        erasure=erasure,
        sessions=sessions,
        consents=consents,
        questions=questions,
        deploy_secret=_deploy_secret(settings.deploy_secret_file),
    )
    return Parts(
        app=application(site, userinfo, settings.issuer),
        rpc=rpc,
        questions=questions,
        accounts=accounts,
        own_second_factor=own_second_factor,
        erasure=erasure,
        sessions=sessions,
        failures=failures,
        consents=consents,
        passwords=passwords,
    )


async def main() -> None:
    """Serve until told to stop."""
    settings = load(IdentitySettings)
    configure_logging("identity", settings.log_level)
    spans.begin("identity", settings.trace_ratio)
    master = MasterKey.read(settings.master_key_file)
    password = read_secret(settings.database_password_file, "the database password")
    tls = Tls.read(settings)
    nats = NatsAccess.read(settings)
    management = Management.of(settings, nats, tls)
    issuer = channel(settings.token_issuer_address, tls, "token_issuer")
    registry = channel(settings.registry_address, tls, "registry")
    endpoint = TokenEndpoint(settings.issuer, settings.issuer_ca_file)
    guard = Guard(
        issuer=settings.issuer,
        audience=f"{settings.issuer}/connect/userinfo",
        feed=nats.feed(settings.heartbeat_seconds),
        keys=HttpKeys(f"{settings.issuer}/connect/jwks", ca_file=settings.issuer_ca_file),
        online=GrpcOnline(issuer),
        max_staleness=settings.max_staleness_seconds,
    )
    GUARDS.add(guard)
    keys = PersonalKeyRing(master)
    log = await Log.open(settings.database, password, Catalogue.of(events, registry_events), personal_keys=keys)
    try:
        schema = await Schema.of(log, "identity", Path(__file__).with_name("migrations"))
        parts = assemble(
            settings,
            master=master,
            keys=keys,
            log=log,
            issuer=issuer,
            registry=registry,
            redeem=endpoint.redeem,
            guard=guard,
            clock=system_clock,
        )

        async def look() -> None:
            await refuse_demo_users(parts.questions, demo=settings.demo)
            # A back-up of the keys that was put back brings nobody back.
            await parts.erasure.destroy_again()

        await _when_reachable(look)
        follower = Follower(log, PROJECTION, SOURCES, project_registry, nats)
        rpc = RpcServer(settings.grpc_bind, tls, {**RULES, **rebuilding.RULES}, management.authenticate)
        rpc.add(add_IdentityServicer_to_server, parts.rpc, SERVICE)
        read_models = rebuilding.ReadModelsService(log, PROJECTIONS)
        rpc.add(add_ReadModelsServicer_to_server, read_models, rebuilding.SERVICE)

        once_ready = False

        async def ready() -> Readiness:
            nonlocal once_ready
            tokens = management.readiness()
            once_ready = once_ready or tokens.ok
            return Readiness(
                {
                    "log": await _reachable(log),
                    "follower": follower.readiness(),
                    "read_models": await rebuilding.up_to_date(log, PROJECTIONS),
                    # Without pushed denials tokens are judged online, and people sign in as ever.
                    "tokens": Check(ok=once_ready, detail=tokens.detail),
                }
            )

        aside = [parts.failures.run(), parts.erasure.destroy_repeatedly()]
        background = [schema.run(), follower.run(), management.run(), guard.run(), *aside]
        await serve(settings, parts.app, rpc, ready, background)
        parts.passwords.close()
    finally:
        await endpoint.close()
        await registry.close(None)
        await issuer.close(None)
        await log.close()


async def _when_reachable(look: Callable[[], Awaitable[None]]) -> None:
    """Have a look at the log before anything is served, however long it takes until there is one."""
    for wait in chain(_WAITS, repeat(_WAITS[-1])):
        try:
            await look()
        except Unavailable as failure:
            _log.warning("the log cannot be looked at yet", reason=failure.code)
            await asyncio.sleep(wait)
        else:
            return


async def refuse_demo_users(questions: Questions, *, demo: bool) -> None:
    """End the process if the log holds users whose passwords are public and this is not the demo."""
    if not demo and await questions.marked(DEMO):
        raise SystemExit(
            "stagedoor: this log holds demo users, whose passwords are public; set STAGEDOOR_DEMO, or use another log"
        )


def _deploy_secret(file: Path | None) -> str | None:
    """The secret; None where none is set, or its file was removed once it had been used."""
    return read_secret(file, "the deploy secret") if file is not None and file.exists() else None


async def _reachable(log: Log) -> Check:
    try:
        head = await log.head()
    except Refusal as refusal:
        return Check(ok=False, detail=refusal.message)
    return Check(ok=True, detail=f"at position {head.position}")


if __name__ == "__main__":
    run(main())
