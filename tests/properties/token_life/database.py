"""A database whose clock is held too, and that forgets everything between two lives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from infra import migrate
from tests.support.postgres import Database, Databases

BEGINNING = datetime(2030, 1, 1, 12, tzinfo=UTC)

_WRITTEN = ("events", "streams", "names", "once", "denials", "denial_horizons", "epochs")
_HELD = """
CREATE TABLE log.held_clock (now timestamptz NOT NULL);
INSERT INTO log.held_clock VALUES (clock_timestamp());
ALTER TABLE log.held_clock OWNER TO log_owner;
CREATE FUNCTION log.held_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT now FROM log.held_clock';
ALTER FUNCTION log.held_now() OWNER TO log_owner;
"""
_READING_THE_CLOCK = r"""
SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = 'log' AND p.prokind = 'f' AND p.prosrc ~ 'clock_timestamp\(\)'
"""


class HeldClock:
    """The time, for everybody: services, guards and the log."""

    def __init__(self) -> None:
        self.now = BEGINNING

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        """Since 1970."""
        return self.now.timestamp()

    def since_boot(self) -> float:
        """On the clock that measures how fresh a view is."""
        return 1000.0 + (self.now - BEGINNING).total_seconds()


class HeldDatabase:
    """The database, the superuser's connection to it, and its clock."""

    def __init__(self, database: Database, superuser: asyncpg.Connection) -> None:
        self.database = database
        self.superuser = superuser
        self.clock = HeldClock()
        self._tables: list[str] = []

    async def forget_everything(self) -> None:
        """An empty log again, at the beginning of time."""
        if not self._tables:
            schemas = [tenant.login for tenant in migrate.tenants()]
            rows = await self.superuser.fetch(
                "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
                " WHERE schemaname = ANY ($1) OR schemaname = 'log' AND tablename = ANY ($2)",
                schemas,
                _WRITTEN,
            )
            self._tables = [row["name"] for row in rows]
        # For so few rows that is ten times faster than TRUNCATE.
        await self.superuser.execute(";".join(f"DELETE FROM {table}" for table in self._tables))  # noqa: S608  (names)
        await self.superuser.execute(
            "UPDATE log.head SET epoch = 0, position = 0, denial_number = 0, denials_pruned = 0,"
            " recorded_at = '-infinity', server_started_at = null"
        )
        self.clock.now = BEGINNING
        await self.forward(timedelta())

    async def prune_denials(self) -> None:
        """As the ledger does on a timer; the rest of its care would make partitions for all days up to the held one."""
        await self.superuser.execute("SELECT log.prune_denials(0, 5000)")

    async def forward(self, by: timedelta) -> None:
        """Let time pass, for everybody at once."""
        self.clock.now += by
        await self.superuser.execute("UPDATE log.held_clock SET now = $1", self.clock.now)


@asynccontextmanager
async def held_database(databases: Databases) -> AsyncIterator[HeldDatabase]:
    """A database with the five services, whose functions ask the test what time it is."""
    async with databases.fresh(migrate.tenants()) as database:
        database.spoiled = True
        async with database.connection() as superuser:
            await superuser.execute(_HELD)
            for row in await superuser.fetch(_READING_THE_CLOCK):
                await superuser.execute(row[0].replace("clock_timestamp()", "log.held_now()"))
            yield HeldDatabase(database, superuser)
