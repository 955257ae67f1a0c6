"""Tables change by steps: each once, in order, never changed, with programs of before and after beside one another."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from infra import migrate as stagedoor
from infra.local.process import until
from infra.local.services import python_environment
from shared.log import migrate as log_migrate
from shared.log.migrate import Tenant, migrate, outlook
from shared.log.steps import LOG_STEPS, Step, StepsRefused, read_steps
from tests.support.postgres import Database, Databases, passwords
from tests.support.schema import BEFORE_STEPS, FILE, Shape, catalogue, golden, shape, taken_away
from tests.support.theatre import OFFICE, TENANTS, sale

ROWS = Step(2, "0002_rows", "ALTER TABLE office.tickets ADD COLUMN row_number integer NOT NULL DEFAULT 7")
OBSOLETE = """
    CREATE FUNCTION log.{name} RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
    ALTER FUNCTION log.{name} OWNER TO log_owner"""


def with_steps(*steps: Step) -> Sequence[Tenant]:
    """The theatre, whose office has these steps after its first."""
    return [replace(TENANTS[0], steps=(*TENANTS[0].steps, *steps)), *TENANTS[1:]]


@pytest.fixture
async def own(databases: Databases) -> AsyncIterator[Database]:
    async with databases.fresh(TENANTS) as fresh:
        fresh.spoiled = True
        yield fresh


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / f"{name[1:]}.sql").write_text(text)
        return tmp_path

    return write


async def test_a_step_is_taken_once_and_what_was_there_goes_on(own: Database) -> None:
    log = await own.log("office", OFFICE)
    await log.append(sale("a"))
    async with own.connection() as connection:
        assert [step.name for _, step in (await outlook(connection, with_steps(ROWS))).pending] == ["0002_rows"]
        done = await migrate(connection, with_steps(ROWS), passwords(TENANTS))
        assert done.pending == [("office", ROWS)]
        assert (await outlook(connection, with_steps(ROWS))).pending == []
        after = await catalogue(connection)
        assert (await migrate(connection, with_steps(ROWS), passwords(TENANTS))).pending == []
        assert await catalogue(connection) == after
        assert await connection.fetchval("SELECT sum(row_number) FROM office.tickets") is None
    # This program was there before the step, and its connections too.
    await log.append(sale("a", 1))
    assert (await log.load("ticket-a")).version == 2


async def test_a_step_that_was_changed_is_refused_and_nothing_is_done(own: Database) -> None:
    async with own.connection() as connection:
        await migrate(connection, with_steps(ROWS), passwords(TENANTS))
        before = await catalogue(connection)
        other = replace(ROWS, sql=ROWS.sql.replace("7", "8"))
        more = Step(3, "0003_more", "CREATE TABLE office.more (id text PRIMARY KEY)")
        for attempt in (migrate(connection, with_steps(other, more), {}), outlook(connection, with_steps(other))):
            with pytest.raises(StepsRefused, match=r"step 2 of office \(0002_rows\) is not the one"):
                await attempt
        assert await catalogue(connection) == before


async def test_an_older_program_leaves_a_newer_database_as_it_is(own: Database) -> None:
    async with own.connection() as connection:
        await migrate(connection, with_steps(ROWS), passwords(TENANTS))
        await connection.execute("ALTER FUNCTION log.load(text) COST 99")
        before = await catalogue(connection)
        done = await migrate(connection, TENANTS, passwords(TENANTS))
        assert (done.pending, done.ahead) == ([], ["office"])
        assert await catalogue(connection) == before
        assert await connection.fetchval("SELECT procost FROM pg_proc WHERE oid = 'log.load(text)'::regprocedure") == 99
        # One that takes something away says who can still work with the rest.
        narrower = Step(3, "0003_less", "ALTER TABLE office.tickets DROP COLUMN note", oldest=2)
        await migrate(connection, with_steps(ROWS, narrower), {})
        assert (await migrate(connection, with_steps(ROWS), {})).ahead == ["office"]
        with pytest.raises(StepsRefused, match=r"too old for the database: office is at step 3, which needs .* step 2"):
            await migrate(connection, TENANTS, {})


async def test_a_database_of_a_program_that_went_another_way_is_refused(own: Database) -> None:
    async with own.connection() as connection:
        await migrate(connection, with_steps(ROWS), passwords(TENANTS))
        door = Step(2, "0002_more", "CREATE TABLE door.more (id text PRIMARY KEY)")
        other = [TENANTS[0], replace(TENANTS[1], steps=(*TENANTS[1].steps, door)), *TENANTS[2:]]
        with pytest.raises(StepsRefused, match="went another way"):
            await migrate(connection, other, {})
        assert await connection.fetchval("SELECT to_regclass('door.more')") is None


async def test_two_migrations_at_once_take_each_step_once(own: Database) -> None:
    slow = replace(ROWS, sql=f"{ROWS.sql}; SELECT pg_sleep(0.3)")

    async def one() -> int:
        async with own.connection() as connection:
            return len((await migrate(connection, with_steps(slow), passwords(TENANTS))).pending)

    assert sorted(await asyncio.gather(one(), one(), one())) == [0, 0, 1]


async def test_whoever_holds_a_table_is_not_waited_for_for_long_and_nobody_waits_behind(own: Database) -> None:
    async with own.connection() as connection, own.connection() as reader, own.connection() as other:
        transaction = reader.transaction()
        await transaction.start()
        await reader.fetch("SELECT * FROM office.tickets")
        migrating = asyncio.create_task(migrate(connection, with_steps(ROWS), passwords(TENANTS)))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )

        async def waits() -> bool:
            return bool(await other.fetchval(waiting))

        assert await until(waits, 10)
        async with asyncio.timeout(5):
            await other.fetch("SELECT * FROM office.tickets")
        assert not migrating.done()
        await transaction.rollback()
        assert (await migrating).pending == [("office", ROWS)]


async def test_a_function_keeps_its_identity_and_one_that_is_in_no_script_goes(own: Database) -> None:
    identities = "SELECT oid FROM pg_proc WHERE pronamespace = 'log'::regnamespace ORDER BY oid"
    async with own.connection() as connection:
        before = await connection.fetch(identities)
        await connection.execute(OBSOLETE.format(name="of_before()"))
        await migrate(connection, TENANTS, passwords(TENANTS))
        assert await connection.fetch(identities) == before


async def test_a_database_of_before_there_were_steps_becomes_what_a_new_one_is(
    databases: Databases, database: Database
) -> None:
    dsn = databases.server.dsn("postgres", "before_steps")
    secret = databases.server.password
    # Logins are the server's, so they are there.
    await databases._maintain("CREATE DATABASE before_steps")
    connection = await asyncpg.connect(dsn, password=secret)
    try:
        await connection.execute(BEFORE_STEPS.read_text())
        await connection.execute(OBSOLETE.format(name="of_before()"))
        await connection.execute(OBSOLETE.format(name="known_epochs()"))  # with another result
        assert await stagedoor.check(dsn, secret) == log_migrate.outlook_of_new(stagedoor.tenants())
        await stagedoor.migrate(dsn, secret, passwords(stagedoor.tenants()))
        assert (await stagedoor.check(dsn, secret)).pending == []
        async with database.connection() as fresh:
            await stagedoor.migrate(database.dsn("postgres"), secret, passwords(stagedoor.tenants()))
            assert await catalogue(connection) == await catalogue(fresh)
    finally:
        await connection.close()
        await databases._maintain("DROP DATABASE before_steps WITH (FORCE)")


async def test_the_command_says_what_is_pending_and_what_was_done(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text(databases.server.password)
    for service, secret in passwords(stagedoor.tenants()).items():
        (tmp_path / f"{service}.database").write_text(secret)
    monkeypatch.setenv("STAGEDOOR_MIGRATION_DATABASE", databases.server.dsn("postgres", "by_command"))
    monkeypatch.setenv("STAGEDOOR_MIGRATION_PASSWORD_FILE", str(tmp_path / "password"))

    async def command(*arguments: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infra.migrate", *arguments),
            env=python_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    lines = [f"log {step.name}" for step in read_steps(LOG_STEPS)]
    lines += [f"{tenant.login} {step.name}" for tenant in stagedoor.tenants() for step in tenant.steps]
    assert await command("--check") == (1, "".join(f"pending: {line}\n" for line in lines), "")
    assert await command("--force") == (1, "", "stagedoor: the migration takes no arguments but --check\n")
    needs = (
        "stagedoor: the migration needs STAGEDOOR_MIGRATION_DATABASE, STAGEDOOR_MIGRATION_PASSWORD_FILE,"
        " STAGEDOOR_MIGRATION_PASSWORDS\n"
    )
    assert await command() == (1, "", needs)
    monkeypatch.setenv("STAGEDOOR_MIGRATION_PASSWORDS", str(tmp_path))
    assert await command() == (0, "".join(f"taken: {line}\n" for line in lines), "")
    assert await command("--check") == (0, "", "")
    await databases._maintain("DROP DATABASE by_command WITH (FORCE)")


async def test_programs_of_before_find_all_that_they_use(database: Database) -> None:
    async with database.connection() as connection:
        now = await shape(connection)
    assert taken_away(golden(), now) == [], "programs of before run beside this one: see docs/operations.md, Upgrades"
    assert golden() == now, f"`python -m tests.support.schema` writes {FILE}"


def test_what_is_taken_away_is_noticed() -> None:
    before: Shape = {"columns": {"a.b": "text", "a.c": "text"}, "functions": {"log.f()": "void"}}
    assert taken_away(before, {**before, "columns": {**before["columns"], "a.d": "text"}}) == []
    assert taken_away(before, {"columns": {"a.b": "integer", "a.c": "text"}, "functions": {}}) == [
        "a.b text",
        "log.f() void",
    ]


def test_tables_are_made_by_steps_alone() -> None:
    scripts = [path for path in LOG_STEPS.parent.glob("*.sql") if "CREATE TABLE IF NOT EXISTS" in path.read_text()]
    assert scripts == [], "a table is made by a step (shared/log/migrations)"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"_0001_a": "SELECT 1", "_0003_b": "SELECT 1"}, "not numbered 1, 2, 3"),
        ({"_0001_a": "SELECT 1", "_0001_b": "SELECT 1"}, "not numbered 1, 2, 3"),
        ({"_0002_a": "SELECT 1"}, "not numbered 1, 2, 3"),
        ({"_1_a": "SELECT 1"}, "not named like a step"),
        ({"_0001_A": "SELECT 1"}, "not named like a step"),
        ({"_0001": "SELECT 1"}, "not named like a step"),
        ({"_0001_a": "-- oldest program: 2\nSELECT 1"}, "a later step"),
    ],
)
def test_a_folder_that_is_no_row_of_steps_is_refused(
    folder: Callable[..., Path], files: dict[str, str], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        read_steps(folder(**files))


def test_a_step_says_which_programs_can_work_with_what_it_leaves(folder: Callable[..., Path]) -> None:
    steps = read_steps(folder(_0001_a="SELECT 1", _0002_b="-- oldest program: 2\nSELECT 2"))
    assert [(step.number, step.name, step.oldest) for step in steps] == [(1, "0001_a", 1), (2, "0002_b", 2)]
    assert read_steps(Path("/nowhere/at/all")) == ()
