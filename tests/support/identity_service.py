"""The identity service for tests: real PostgreSQL, a small issuer beside it, and a clock that the test holds."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from infra import migrate
from services.identity import events
from services.identity.accounts import NewUser
from services.identity.events import Profile, Role, UserKind
from services.identity.main import Parts, assemble
from services.identity.personal_keys import PersonalKeyRing
from services.identity.settings import IdentitySettings
from services.registry import events as registry_events
from shared.http.operations import Operations, Readiness
from shared.http.serve import layers
from shared.ids import new_command_id, new_id
from shared.keys import MasterKey
from shared.log.append import Context
from shared.log.event import Catalogue, Personal, Recorded
from shared.log.log import Log
from tests.support.browsing import Browser, Page
from tests.support.fake_issuer import CALLBACK, CLIENT, FakeIssuer
from tests.support.postgres import Database, Databases, password
from tests.support.sdk_tokens import SigningKey, claims, guard

ISSUER = "http://127.0.0.1:8400/id"
PASSWORD = "a-kind-of-magic-1986"
CHEAP: dict[str, Any] = {"argon2_time_cost": 1, "argon2_memory_kib": 8}
"""Hashes that cost nothing: these tests count verifications and do not wait for them."""


@dataclass
class HeldClock:
    """A clock that goes when it is told to."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        """Let time pass."""
        self.now += timedelta(**by)


@dataclass
class Identity:
    """The service under test."""

    settings: IdentitySettings
    parts: Parts
    log: Log
    issuer: FakeIssuer
    clock: HeldClock
    key: SigningKey
    database: Database
    app: Operations
    began: int
    """Where the log stood when the test began."""

    def browser(self, address: str = "192.0.2.7") -> Browser:
        """A new browser, without any cookie."""
        return Browser(self.app, self.settings.issuer, address)

    async def register(
        self,
        user_name: str = "freddie",
        secret: str | None = PASSWORD,
        kind: UserKind = UserKind.INTERNAL,
        *roles: Role,
        **profile: str,
    ) -> str:
        """A user; answers the `sub`."""
        about = Profile(**{name: Personal[str](value) for name, value in profile.items()})  # type: ignore[arg-type]
        sub, _ = await self.parts.accounts.register(NewUser(user_name, kind, about, roles, secret), self.context())
        return sub

    def context(self) -> Context:
        """For what a test does itself."""
        return Context("service:test", new_id(), new_command_id())

    async def facts(self, name: str = "") -> list[Recorded]:
        """The facts of this service, of one class or all."""
        found = await self.log.read(self.began, sources=("identity",))
        return [one for one in found if not name or type(one.event).__name__ == name]

    def token(self, sub: str, **changes: Any) -> str:
        """An access token for userinfo, signed by the issuer's key."""
        given = {"iss": self.settings.issuer, "aud": [f"{self.settings.issuer}/connect/userinfo"], "scope": "openid"}
        return self.key.sign(claims(**{**given, "sub": sub, **changes}))


def authorization(issuer: str = ISSUER, **parameters: str) -> str:
    """The address that an application sends the browser to."""
    query = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": CALLBACK,
        "scope": "openid read",
        "state": "st4te",
        **parameters,
    }
    return f"{issuer}/connect/authorize?" + "&".join(
        f"{name}={_escaped(value)}" for name, value in query.items() if value
    )


async def sign_in(browser: Browser, user_name: str = "freddie", secret: str = PASSWORD, **parameters: str) -> Page:
    """Begin at the application, sign in, and stop at the next page, or where the site is left."""
    page = await browser.get(authorization(browser.base, **parameters))
    return await browser.submit(page, user_name=user_name, password=secret, action="sign_in")


def _escaped(value: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "".join(f"%{b:02X}" for b in c.encode()) for c in value)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _database(databases: Databases) -> AsyncIterator[Database]:
    async with databases.fresh(migrate.tenants()) as fresh:
        yield fresh


@pytest_asyncio.fixture
async def database(_database: Database) -> Database:
    """A database in which nobody is registered and no name is taken; facts of earlier tests stay in its log.

    That is much quicker than one without any facts, and there are many tests.
    """
    async with _database.connection() as connection:
        tables = await connection.fetchval(
            "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'identity'"
        )
        await connection.execute(f"TRUNCATE {tables}")
        await connection.execute("DELETE FROM log.names WHERE login = 'identity'")
    return _database


@pytest.fixture
def settings() -> dict[str, Any]:
    """What a test's service is told otherwise than usual; a test module overrides it."""
    return {}


@pytest_asyncio.fixture
async def identity(database: Database, settings: dict[str, Any], tmp_path: Path) -> AsyncIterator[Identity]:
    """The service, with nobody registered."""
    async with AsyncExitStack() as stack:
        yield await start(stack, database, tmp_path, settings)


async def start(
    stack: AsyncExitStack,
    database: Database,
    folder: Path,
    changes: Mapping[str, Any],
    *,
    beside: Identity | None = None,
) -> Identity:
    """Start a service; `beside` another one: a replica, with its keys, its clock and its issuer."""
    unused = folder / "unused"
    told = IdentitySettings(
        **{
            "issuer": ISSUER,
            "tls_ca_file": unused,
            "tls_certificate_file": unused,
            "tls_key_file": unused,
            **CHEAP,
            **changes,
        }
    )
    master = MasterKey(b"k" * 32)
    ring = PersonalKeyRing(master)
    log = await Log.open(
        database.dsn("identity"), password("identity"), Catalogue.of(events, registry_events), personal_keys=ring
    )
    stack.push_async_callback(log.close)
    fake = beside.issuer if beside is not None else await stack.enter_async_context(FakeIssuer())
    channel = grpc.aio.insecure_channel(fake.address)
    stack.push_async_callback(channel.close, None)
    clock = beside.clock if beside is not None else HeldClock()
    key = beside.key if beside is not None else SigningKey()
    judge = guard(key, issuer=told.issuer, audience=f"{told.issuer}/connect/userinfo")
    parts = assemble(
        told,
        master=master,
        keys=ring,
        log=log,
        issuer=channel,
        registry=channel,
        redeem=fake.redeem,
        guard=judge,
        clock=clock,
    )
    stack.callback(parts.passwords.close)

    async def ready() -> Readiness:
        return Readiness({})

    began = (await log.head()).position
    return Identity(told, parts, log, fake, clock, key, database, layers(parts.app, ready, 1024), began)
