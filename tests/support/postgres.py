"""A real PostgreSQL for tests: one server in a test run, a fresh database, migrated, for each test that asks for one.

async def test_something(database: Database) -> None:
    log = await database.log("registry", Catalogue.of(events))
"""

import asyncio
import itertools
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from infra import migrate as stagedoor
from infra.local.postgres import SUPERUSER, Postgres
from shared.log.codec import PersonalKeys
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.log.migrate import Tenant, migrate

_numbers = itertools.count(1)
_WRITTEN = ("events", "streams", "names", "once", "denials", "denial_horizons", "care_taken", "epochs", "pruned")
"""The tables of the log that appends fill."""


def password(login: str) -> str:
    """The password of a login in tests."""
    return f"the-{login}-of-tests"


@dataclass
class Database:
    """One database, with its logins; logs that were opened through it are closed with it."""

    server: Postgres
    name: str
    spoiled: bool = False
    """A test has changed more than what is written; the database is dropped after it."""
    _logs: list[Log] = field(default_factory=list)

    def dsn(self, login: str) -> str:
        """How a login gets in."""
        return self.server.dsn(login, self.name)

    async def log(
        self, login: str, catalogue: Catalogue, *, personal_keys: PersonalKeys | None = None, pool_size: int = 8
    ) -> Log:
        """The log as this login sees it."""
        log = await Log.open(
            self.dsn(login), password(login), catalogue, personal_keys=personal_keys, pool_size=pool_size
        )
        self._logs.append(log)
        return log

    @asynccontextmanager
    async def connection(self, login: str = SUPERUSER) -> AsyncIterator[asyncpg.Connection]:
        """A connection of a login, or of the superuser."""
        secret = self.server.password if login == SUPERUSER else password(login)
        connection = await asyncpg.connect(self.dsn(login), password=secret)
        try:
            yield connection
        finally:
            await connection.close()

    async def close(self) -> None:
        """Close what was opened."""
        await asyncio.gather(*(log.close() for log in self._logs))
        self._logs.clear()

    async def close_to_all_but(self, logins: Sequence[str]) -> None:
        """A copy has everything of what it was copied from, but for what holds for the database as a whole."""
        async with self.connection() as connection:
            await connection.execute(stagedoor.DATABASE.read_text())
            await connection.execute(f"GRANT CONNECT ON DATABASE {self.name} TO {', '.join(logins)}")

    async def empty(self, schemas: Sequence[str]) -> None:
        """Forget everything that was written, and everybody who is still connected."""
        async with self.connection() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            # Only those that were written to: to empty a table takes a millisecond, and there are a hundred.
            tables = await connection.fetchval(
                "SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class c"
                " JOIN pg_class root ON root.oid = coalesce(pg_partition_root(c.oid), c.oid)"
                " WHERE c.relkind = 'r' AND pg_relation_size(c.oid) > 0"
                " AND (c.relnamespace::regnamespace::text = ANY ($1)"
                " OR c.relnamespace = 'log'::regnamespace AND root.relname = ANY ($2))",
                schemas,
                _WRITTEN,
            )
            if tables:
                await connection.execute(f"TRUNCATE {tables}")
            await connection.execute(
                "UPDATE log.head SET epoch = 0, position = 0, denial_number = 0, recorded_at = '-infinity',"
                " server_started_at = null, denials_pruned = 0"
            )


class Databases:
    """Makes databases by copying one that was migrated; one that a test has done with is emptied for the next."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self._templates: dict[tuple[str, ...], str] = {}
        self._empty: dict[str, list[str]] = defaultdict(list)

    @asynccontextmanager
    async def fresh(self, tenants: Sequence[Tenant]) -> AsyncIterator[Database]:
        """An empty database of these tenants."""
        template = await self._template(tenants)
        if self._empty[template]:
            database = Database(self.server, self._empty[template].pop())
        else:
            database = Database(self.server, f"test_{next(_numbers)}")
            await self._maintain(f"CREATE DATABASE {database.name} TEMPLATE {template}")
            await database.close_to_all_but([tenant.login for tenant in tenants])
        try:
            yield database
        finally:
            await database.close()
            if database.spoiled:
                await self._maintain(f"DROP DATABASE {database.name} WITH (FORCE)")
            else:
                await database.empty([tenant.login for tenant in tenants])
                self._empty[template].append(database.name)

    async def _template(self, tenants: Sequence[Tenant]) -> str:
        # The log has partitions for days, counted from the day on which it was migrated.
        key = (f"{datetime.now(UTC):%Y%m%d}", *sorted(tenant.login for tenant in tenants))
        if key not in self._templates:
            name = f"template_{len(self._templates) + 1}"
            await self._maintain(f"CREATE DATABASE {name}")
            connection = await asyncpg.connect(self.server.dsn(SUPERUSER, name), password=self.server.password)
            try:
                await migrate(connection, tenants, passwords(tenants))
            finally:
                await connection.close()
            self._templates[key] = name
        return self._templates[key]

    async def _maintain(self, statement: str) -> None:
        connection = await asyncpg.connect(self.server.dsn(SUPERUSER, "postgres"), password=self.server.password)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def passwords(tenants: Sequence[Tenant]) -> Mapping[str, str]:
    """The passwords of all logins."""
    return {tenant.login: password(tenant.login) for tenant in tenants}


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The server of this test run."""
    folder = Path(tempfile.mkdtemp(prefix="stagedoor-tests-"))
    server = Postgres(folder, fsync=False)
    try:
        asyncio.run(server.start())
        yield Databases(server)
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder_for_servers() -> Iterator[Path]:
    """A folder that a server may run in as another user: pytest closes its own folders to others at any time."""
    folder = Path(tempfile.mkdtemp(prefix="stagedoor-tests-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    """A fresh database with the five services, their read models and logins."""
    async with databases.fresh(stagedoor.tenants()) as fresh:
        yield fresh
