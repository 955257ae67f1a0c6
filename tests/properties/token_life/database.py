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
        self._back_ups: dict[int, list[tuple[str, str]]] = {}

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

    # Back-ups

    async def take_back_up(self, slot: int) -> None:
        """Of all that services and log have written."""
        await self.superuser.execute(";".join(sql for name in await self._saved(slot) for sql in _copy(*name)))

    async def put_back_up_back(self, slot: int) -> None:
        """Everything is as it was then, on a server that has another history."""
        await self._fill_from(slot)
        await self.become_another_server()

    async def begin_again(self, slot: int) -> None:
        """Everything is as it was then, and the time what it is at the beginning."""
        await self._fill_from(slot)
        self.clock.now = BEGINNING
        await self.forward(timedelta())

    async def _fill_from(self, slot: int) -> None:
        names = [(table, saved) for saved, table in await self._saved(slot)]
        await self.superuser.execute(";".join(sql for name in names for sql in _copy(*name)))

    async def become_another_server(self) -> None:
        """The log takes the next append for the first one on a server that it has not met."""
        await self.superuser.execute(
            "UPDATE log.epochs SET system_identifier = -epoch;UPDATE log.head SET server_started_at = '-infinity'"
        )

    async def _saved(self, slot: int) -> list[tuple[str, str]]:
        """The tables that a back-up has, and what each is a copy of; partitions go with their tables."""
        if slot not in self._back_ups:
            schemas = [tenant.login for tenant in migrate.tenants()]
            rows = await self.superuser.fetch(
                "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
                "   AND (n.nspname = ANY ($1) OR n.nspname = 'log' AND c.relname = ANY ($2))",
                schemas,
                (*_WRITTEN, "head"),
            )
            names = [f"{row['nspname']}.{row['relname']}" for row in rows]
            self._back_ups[slot] = [(f'saved."{name}.{slot}"', name) for name in names]
            await self.superuser.execute("CREATE SCHEMA IF NOT EXISTS saved")
            for saved, table in self._back_ups[slot]:
                await self.superuser.execute(f"CREATE UNLOGGED TABLE {saved} (LIKE {table})")
        return self._back_ups[slot]

    async def prune_denials(self) -> None:
        """As the ledger does on a timer; the rest of its care would make partitions for all days up to the held one."""
        await self.superuser.execute("SELECT log.prune_denials(0, 5000)")

    async def forward(self, by: timedelta) -> None:
        """Let time pass, for everybody at once."""
        self.clock.now += by
        await self.superuser.execute("UPDATE log.held_clock SET now = $1", self.clock.now)


def _copy(into: str, table: str) -> tuple[str, str]:
    return f"DELETE FROM {into}", f"INSERT INTO {into} OVERRIDING SYSTEM VALUE SELECT * FROM {table}"  # noqa: S608  (names)


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
