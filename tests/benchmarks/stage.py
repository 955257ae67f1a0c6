"""What the load runs against: a token issuer by itself on a real, durable PostgreSQL, and the yardstick."""

import asyncio
import os
import secrets
import shutil
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import asyncpg
import httpx

from infra import migrate
from infra.local import services
from infra.local.home import Home
from infra.local.ports import LOOPBACK, SERVICES, Ports
from infra.local.postgres import SUPERUSER, Postgres
from infra.local.process import Process, until
from infra.local.system import System
from services.registry import events as registry
from services.registry.events import (
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    ResourceSettings,
    Scope,
)
from services.token_issuer import events as token_issuer
from shared.ids import digest, new_command_id, new_id, new_ordered_id
from shared.log.append import Append, Context
from shared.log.event import Catalogue, Event
from shared.log.log import Log
from tests.benchmarks import bare
from tests.benchmarks.load import Load, post
from tests.support import node
from tests.support.ports import free_port, free_ports
from tests.support.system import new_folder

SCOPE = "read"
CALLER = "stagehands"
"""The resource that may ask about tokens."""
TOKEN_PATH = "/id/connect/token"
_CLIENT = "com.backstagehub/app"
_READY_SECONDS = 30.0
_AT_ONCE = 512
_PEER = Path(__file__).parent / "peer"


def basic(client_id: str, secret: str) -> str:
    """HTTP Basic as RFC 6749 section 2.3.1 has it."""
    return "Basic " + b64encode(f"{quote(client_id, safe='')}:{quote(secret, safe='')}".encode()).decode()


def token_request(port: int, client_id: str, secret: str) -> bytes:
    """A request for a token by client credentials."""
    return post(port, TOKEN_PATH, f"grant_type=client_credentials&scope={SCOPE}", basic(client_id, secret))


async def _answers(port: int, path: str, status: int) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://{LOOPBACK}:{port}{path}", timeout=5)).status_code == status
    except httpx.HTTPError:
        return False


@asynccontextmanager
async def yardstick(folder: Path) -> AsyncIterator["Server"]:
    """The bare handler in a process of its own."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "tests.benchmarks.bare", str(port)]
    process = Process("bare", command, services.python_environment(), folder / "bare.log")
    await process.start()
    server = Server(process, port, token_request(port, bare.CLIENT_ID, bare.SECRET))

    async def serving() -> bool:
        return await server.serving() or not process.running

    try:
        if not await until(serving, _READY_SECONDS) or not process.running:
            raise RuntimeError(f"the yardstick does not start: {process.last_words()}")
        yield server
    finally:
        await process.stop()


@asynccontextmanager
async def peer(folder: Path) -> AsyncIterator["Server"]:
    """A certified server for Node, oidc-provider, as it comes: it stores nothing, and cannot take a token back."""
    if reason := await node.missing():
        raise RuntimeError(f"the peer cannot be measured: {reason}")
    libraries, port = await node.installed(_PEER), free_port()
    program = libraries / "server.mjs"
    shutil.copy(_PEER / program.name, program)
    told = (str(port), bare.CLIENT_ID, bare.SECRET, "http://127.0.0.1:8400/api", SCOPE)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "NODE_ENV": "production"}
    process = Process("peer", [shutil.which("node") or "node", str(program), *told], environment, folder / "peer.log")
    await process.start()
    request = post(port, "/token", f"grant_type=client_credentials&scope={SCOPE}", basic(bare.CLIENT_ID, bare.SECRET))
    server = Server(process, port, request)

    async def serving() -> bool:
        return await server.serving() or not process.running

    try:
        if not await until(serving, _READY_SECONDS) or not process.running:
            raise RuntimeError(f"the peer does not start: {process.last_words()}")
        yield server
    finally:
        await process.stop()


@dataclass(frozen=True, slots=True)
class Server:
    """A process that gives tokens, and how it is asked for one."""

    process: Process
    port: int
    request: bytes
    ports: Ports | None = None
    """Of a whole service: where else it listens."""

    def load(self, connections: int, *watched: int) -> Load:
        """Requests for tokens; its own processor time is watched, with that of others."""
        return Load(self.port, self.request, connections, (self.process.pid, *watched))

    async def serving(self) -> bool:
        """Whether it takes connections."""
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self.port)
        except OSError:
            return False
        writer.close()
        return True


def postgres_of(system: System) -> Postgres:
    """The server of a whole system."""
    part = system.part("postgres")
    if not isinstance(part, Postgres):
        raise TypeError("PostgreSQL is something else")
    return part


class IssuerAlone:
    """PostgreSQL with one database for each issuer, and nothing else: no relay, no NATS, no other service."""

    def __init__(self) -> None:
        self.folder = new_folder()
        self.home = Home(self.folder)
        self.postgres = Postgres(self.folder / "postgres", fsync=True)
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        self.home.take()
        await self.postgres.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(process.stop() for process in self._processes))
        await self.postgres.stop()
        self.home.release()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def issuer(
        self, database: str, *, events: int = 0, profile: Path | None = None, more: Mapping[str, str] | None = None
    ) -> Server:
        """A token issuer on a new database whose log has at least so many events.

        `profile`: where samples of it go; `more`: settings other than usual.
        """
        ports = free_ports()
        passwords = await self._migrated(database)
        secret = await self._register(database, passwords["registry"], ports)
        await self._fill(database, passwords["token_issuer"], events)
        dsn = self.postgres.dsn("token_issuer", database)
        process = services.process(self.home, ports, "token_issuer", dsn, more or {})
        if profile is not None:
            command = [sys.executable, "-P", "-m", "tests.benchmarks.profiled", str(profile)]
            process = Process("token_issuer", command, process._environment, process.log)
        self._processes.append(process)
        await process.start()
        port = ports.http("token_issuer")

        async def ready() -> bool:
            return not process.running or await _answers(port, "/readyz", 200)

        if not await until(ready, _READY_SECONDS) or not process.running:
            raise RuntimeError(f"the token issuer does not start: {process.last_words()}")
        return Server(process, port, token_request(port, _CLIENT, secret), ports)

    async def log_with(self, database: str, events: int) -> None:
        """A new database whose log has so many events, and nobody yet who works with it."""
        passwords = await self._migrated(database)
        await self._fill(database, passwords["token_issuer"], events)

    async def _migrated(self, database: str) -> Mapping[str, str]:
        """A new database; answers the passwords of its logins."""
        passwords = {name: services.database_password(self.home, name).read_text().strip() for name in SERVICES}
        await migrate.migrate(self.postgres.dsn(SUPERUSER, database), self.postgres.password, passwords)
        return passwords

    async def _register(self, database: str, password: str, ports: Ports) -> str:
        """An application and a resource, as the registry would write them; answers the application's secret."""
        secret = secrets.token_urlsafe(32)
        settings = ApplicationSettings(
            display_name="BackstageHub",
            type=ApplicationType.CONFIDENTIAL,
            redirect_uris=("http://localhost:8480/callback",),
            scopes=("read", "update"),
            grants=(GrantType.CLIENT_CREDENTIALS,),
            auth_method=AuthMethod.CLIENT_SECRET_BASIC,
        )
        resource = ResourceSettings(
            display_name="API",
            scopes=tuple(Scope(name=name, description=name) for name in ("read", "update")),
            callers=(f"resource/{CALLER}",),
        )
        log = await Log.open(self.postgres.dsn("registry", database), password, Catalogue.of(registry))
        try:
            await _append(
                log,
                f"application-{_CLIENT}",
                registry.ApplicationRegistered(client_id=_CLIENT, settings=settings),
                registry.SecretAdded(client_id=_CLIENT, secret_id=new_id(), secret_digest=digest(secret)),
            )
            identifier = f"{ports.origin}/api"
            event = registry.ResourceRegistered(resource_id=new_id(), identifier=identifier, settings=resource)
            await _append(log, f"resource-{event.resource_id}", event)
        finally:
            await log.close()
        return secret

    async def _fill(self, database: str, password: str, events: int) -> None:
        """Tokens that were issued before, through the log, in groups, as the issuer itself writes them."""
        if not events:
            return
        log = await Log.open(self.postgres.dsn("token_issuer", database), password, Catalogue.of(token_issuer))
        left = iter(range(events))

        async def issue() -> None:
            for _ in left:
                jti = new_ordered_id()
                await log.append(Append(f"token-{jti}", None, (issued(jti),), context_of_issue()))

        try:
            await asyncio.gather(*(issue() for _ in range(_AT_ONCE)))
        finally:
            await log.close()
        # What autovacuum would do at some moment of the measurement is done before it.
        connection = await asyncpg.connect(
            self.postgres.dsn(SUPERUSER, database), password=self.postgres.password, command_timeout=120
        )
        try:
            await connection.execute("VACUUM (ANALYZE)")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()


def issued(jti: str) -> Event:
    """A token by client credentials, as a fact."""
    return token_issuer.AccessTokenIssued(
        jti=jti,
        client_id=_CLIENT,
        sub=_CLIENT,
        scopes=(SCOPE,),
        audiences=("http://127.0.0.1:8400/api",),
        access_token_seconds=3600,
    )


def context_of_issue() -> Context:
    """Where such a fact comes from."""
    return Context(f"client:{_CLIENT}", new_id(), new_command_id())


async def _append(log: Log, stream: str, *facts: Event) -> None:
    await log.append(Append(stream, 0, facts, Context("service:registry", new_id(), new_command_id())))
