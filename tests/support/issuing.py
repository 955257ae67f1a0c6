"""The token issuer on a real log, the facts of the others as they would append them, and HTTP within the process."""

import asyncio
import hashlib
import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio

from services.identity import events as identity
from services.identity.events import Role, UserKind
from services.registry import events as registry
from services.registry.events import (
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    ResourceSettings,
    Scope,
)
from services.token_issuer import events
from services.token_issuer.authorization.begin import Outcome, Proceed, begin
from services.token_issuer.authorization.device_codes import UserCodes
from services.token_issuer.authorization.issue import Sent, issue_code
from services.token_issuer.authorization.person import SignedIn
from services.token_issuer.client_certificates import MutualTls
from services.token_issuer.http import application
from services.token_issuer.issuer import Issuer
from services.token_issuer.keys import KeyRing
from services.token_issuer.read_model import Questions
from services.token_issuer.references.checks import ReferenceChecks
from services.token_issuer.references.uses import Uses
from services.token_issuer.refreshing import RefreshTokens
from services.token_issuer.sealing import Sealing
from services.token_issuer.settings import Policy, TokenIssuerSettings
from services.token_issuer.signing import generate
from services.token_issuer.subscriptions import PROJECTION, SOURCES, project
from shared.http.serve import Readiness, layers
from shared.ids import digest, new_command_id, new_id
from shared.keys import MasterKey
from shared.log.append import Append, Context
from shared.log.event import Catalogue, Event, Personal
from shared.log.log import Log
from shared.log_feed import LogFeed
from shared.messaging.follower import Follower
from shared.wake import Wake
from stagedoor import Guard
from stagedoor.verdict import Verdict
from tests.support.postgres import Database

ORIGIN = "http://127.0.0.1:8400"
ISSUER = f"{ORIGIN}/id"
API = f"{ORIGIN}/api"
MANAGEMENT = f"{ORIGIN}/management"
USERINFO = f"{ISSUER}/connect/userinfo"
HUB = "com.backstagehub/app"
CALLBACK = "http://localhost:8480/callback"
SPA = "com.roadie/spa"
SPA_CALLBACK = "http://localhost:8481/callback"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
MASTER = MasterKey(b"m" * 32)

CONFIDENTIAL = ApplicationSettings(
    display_name="BackstageHub",
    type=ApplicationType.CONFIDENTIAL,
    redirect_uris=(CALLBACK,),
    post_logout_redirect_uris=("http://localhost:8480/signed-out",),
    user_kinds=(UserKind.INTERNAL, UserKind.COMMUNITY),
    scopes=("read", "update"),
    grants=(GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN, GrantType.CLIENT_CREDENTIALS),
    auth_method=AuthMethod.CLIENT_SECRET_BASIC,
)
PUBLIC = ApplicationSettings(
    display_name="Roadie",
    type=ApplicationType.PUBLIC,
    redirect_uris=(SPA_CALLBACK,),
    scopes=("read",),
    grants=(GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN),
    auth_method=AuthMethod.NONE,
)


class MovableClock:
    """The time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Client:
    """An application with its secret, as its developer has it."""

    client_id: str
    secret: str | None
    redirect_uri: str

    def headers(self) -> dict[str, str]:
        if self.secret is None:
            return {}
        pair = f"{self.client_id.replace('/', '%2F')}:{self.secret}"
        return {"Authorization": "Basic " + b64encode(pair.encode()).decode()}

    def form(self, **values: str) -> dict[str, str]:
        return values if self.secret is not None else {"client_id": self.client_id, **values}


@dataclass
class Stage:
    """The issuer, with the logs of registry and identity beside it."""

    registry: Log
    identity: Log
    issuer: Issuer
    follower: Follower
    guard: Guard
    references: ReferenceChecks
    uses: Uses
    clock: MovableClock
    http: httpx.AsyncClient
    versions: dict[str, int] = field(default_factory=dict)

    # Facts of others

    async def write(self, log: Log, stream: str, *facts: Event) -> int:
        """Append facts as their service would; answers the position."""
        version = self.versions.get(stream, 0)
        append = Append(
            stream, version, facts, Context("service:test", new_id(), new_command_id()), personal_key=b"p" * 32
        )
        appended = await log.append(append)
        self.versions[stream] = appended.version
        return appended.position

    async def register(
        self, settings: ApplicationSettings = CONFIDENTIAL, client_id: str = HUB, *, resources: bool = False
    ) -> Client:
        """Register an application as the registry would."""
        by_secret = settings.auth_method in (AuthMethod.CLIENT_SECRET_BASIC, AuthMethod.CLIENT_SECRET_POST)
        secret = secrets.token_urlsafe(32) if by_secret else None
        facts: list[Event] = [registry.ApplicationRegistered(client_id=client_id, settings=settings)]
        if secret is not None:
            facts.append(registry.SecretAdded(client_id=client_id, secret_id=new_id(), secret_digest=digest(secret)))
        await self.write(self.registry, f"application-{client_id}", *facts)
        if resources:
            await self.add_resources()
        return Client(client_id, secret, settings.redirect_uris[0] if settings.redirect_uris else "")

    async def add_resources(self, *, callers: tuple[str, ...] = (), community: bool = False) -> None:
        """The API and management."""
        api = ResourceSettings(
            display_name="API",
            scopes=tuple(Scope(name=name, description=f"{name} your tours") for name in ("read", "update")),
            callers=callers,
            admits_community_users=community,
        )
        management = ResourceSettings(display_name="Management", scopes=(Scope(name="sec", description="manage"),))
        for identifier, settings in ((API, api), (MANAGEMENT, management)):
            event = registry.ResourceRegistered(resource_id=new_id(), identifier=identifier, settings=settings)
            await self.write(self.registry, "resource-catalogue", event)

    async def of_application(self, *facts: Event, client_id: str = HUB) -> int:
        return await self.write(self.registry, f"application-{client_id}", *facts)

    async def of_user(self, sub: str, *facts: Event) -> int:
        return await self.write(self.identity, f"user-{sub}", *facts)

    async def user(self, kind: UserKind = UserKind.INTERNAL, *roles: Role) -> str:
        """A new user; answers the `sub`."""
        sub = new_id()
        event = identity.UserRegistered(
            sub=sub, user_name=Personal("freddie"), kind=kind, profile=identity.Profile(), roles=roles
        )
        await self.of_user(sub, event)
        return sub

    async def sign_in(self, sub: str, *, ago: timedelta = timedelta()) -> tuple[SignedIn, int]:
        """A session; what identity says of it, and its position."""
        now = self.clock() - ago
        sid = new_id()
        event = identity.SessionStarted(
            sub=sub,
            sid=sid,
            secret_digest=digest(sid),
            auth_time=now,
            amr=("pwd",),
            expires_at=now + timedelta(days=7),
        )
        position = await self.write(self.identity, f"session-{sid}", event)
        return SignedIn(sid, sub, now, ("pwd",), ()), position

    async def follow(self) -> None:
        """Let the issuer hear of everything."""
        await self.follower.reach((await self.issuer.log.head()).position)

    # The course of a sign-in

    async def begin(self, client: Client, *more: tuple[str, str], **changes: str) -> Outcome:
        """What becomes of an authorization request; an empty value leaves a parameter out."""
        parameters = {
            "client_id": client.client_id,
            "redirect_uri": client.redirect_uri,
            "response_type": "code",
            "scope": "openid read offline_access",
            "state": "xyz",
            "nonce": "n-0S6",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        return await begin(self.issuer, [*((name, value) for name, value in parameters.items() if value), *more])

    async def issue(self, outcome: Outcome, person: SignedIn, position: int = 0, **changes: Any) -> Sent:
        """What happens when the person agrees to everything."""
        assert isinstance(outcome, Proceed), outcome
        agreed = replace(person, consented=outcome.request.scopes, **changes)
        context = Context("service:identity", new_id(), new_command_id())
        return await issue_code(self.issuer, outcome.sealed, agreed, position, context)

    async def code(self, client: Client, sub: str, **changes: str) -> str:
        """An authorization code for this user."""
        person, position = await self.sign_in(sub)
        sent = await self.issue(await self.begin(client, **changes), person, position)
        answer = query(sent.redirect.uri)
        assert "code" in answer, answer
        return answer["code"]

    async def redeem(self, client: Client, code: str, **changes: str) -> httpx.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_uri,
            "code_verifier": VERIFIER,
            **changes,
        }
        return await self.token(client, **{name: value for name, value in form.items() if value})

    async def refresh(self, client: Client, token: str, **more: str) -> httpx.Response:
        return await self.token(client, grant_type="refresh_token", refresh_token=token, **more)

    async def tokens(self, client: Client, sub: str, **changes: str) -> dict[str, Any]:
        """Everything that a sign-in gives."""
        answer = await self.redeem(client, await self.code(client, sub, **changes))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    # Requests

    async def token(self, client: Client, **form: str) -> httpx.Response:
        return await self.http.post("/id/connect/token", data=client.form(**form), headers=client.headers())

    async def introspect(self, client: Client, token: str) -> httpx.Response:
        return await self.http.post("/id/connect/introspect", data=client.form(token=token), headers=client.headers())

    async def revoke(self, client: Client, token: str, **more: str) -> httpx.Response:
        return await self.http.post(
            "/id/connect/revocation", data=client.form(token=token, **more), headers=client.headers()
        )

    async def validate(self, token: str, audience: str = API) -> Verdict:
        """What a resource would be told now."""
        head = await self.issuer.log.head()
        return await self.guard.validate(token, audience=audience, min_position=head.position)

    async def facts(self, kind: type[Event]) -> list[Event]:
        """The issuer's facts of one kind."""
        return [r.event for r in await self.issuer.log.read(0, sources=("token_issuer",)) if isinstance(r.event, kind)]


def query(uri: str) -> dict[str, str]:
    """The parameters of an address; each has to be there once."""
    found = parse_qs(urlsplit(uri).query, strict_parsing=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}


def error(answer: httpx.Response) -> str:
    """The error code of a refused request."""
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["error"])


def policy() -> Policy:
    """The defaults."""
    nothing = Path("/dev/null")
    return Policy.of(TokenIssuerSettings(tls_ca_file=nothing, tls_certificate_file=nothing, tls_key_file=nothing))


async def replica(database: Database, clock: MovableClock, rules: Policy | None = None) -> tuple[Issuer, Follower]:
    """One more process of the issuer; its log is closed with the database."""
    log = await database.log("token_issuer", Catalogue.of(events, registry, identity))
    questions = Questions(log.pool)
    follower = Follower(log, PROJECTION, SOURCES, project, None)
    rules = rules or policy()
    keys = KeyRing(log, questions, MASTER, rules.keys)
    issuer = Issuer(
        log=log,
        questions=questions,
        following=follower,
        keys=keys,
        sealing=Sealing(MASTER, rules.authorization),
        refresh_tokens=RefreshTokens(MASTER),
        user_codes=UserCodes(MASTER),
        policy=rules,
        clock=clock,
    )
    return issuer, follower


same_keys = cache(generate)
"""Making an RSA key takes longer than most tests; they may share one."""


@pytest.fixture
def believing() -> MutualTls | None:
    """Whom the issuer believes about certificates of clients: nobody, unless a test module says otherwise."""
    return None


@pytest.fixture
def patience() -> float:
    """Seconds that the issuer waits for a position; a test that asks for one which never comes says another."""
    return 30.0


@pytest_asyncio.fixture
async def stage(
    database: Database, monkeypatch: pytest.MonkeyPatch, believing: MutualTls | None, patience: float
) -> AsyncIterator[Stage]:
    """An issuer on an empty log."""
    monkeypatch.setattr("services.token_issuer.key_changes.generate", same_keys)
    monkeypatch.setattr("shared.messaging.follower.WAIT_SECONDS", patience)
    clock = MovableClock()
    issuer, follower = await replica(database, clock)
    issuer = replace(issuer, mutual_tls=believing)
    await issuer.keys.prepare()
    wake = Wake(issuer.log)
    feed = LogFeed(issuer.log, wake)
    guard = Guard(
        issuer=ISSUER,
        audience=MANAGEMENT,
        feed=feed,
        keys=issuer.keys,
        now=lambda: clock().timestamp(),
        wait=patience,
    )

    uses = Uses(issuer.log, issuer.questions.references, clock)
    references = ReferenceChecks(issuer.questions.references, guard, feed, uses, clock)

    async def ready() -> Readiness:
        return Readiness({})

    app = layers(application(issuer, guard, references), ready, 1000)
    waking = asyncio.create_task(wake.run())
    registry_log = await database.log("registry", Catalogue.of(registry))
    identity_log = await database.log("identity", Catalogue.of(identity))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, trust_env=False) as http, guard:
        yield Stage(registry_log, identity_log, issuer, follower, guard, references, uses, clock, http)
    waking.cancel()
    await asyncio.gather(waking, return_exceptions=True)
