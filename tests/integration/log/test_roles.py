from collections.abc import AsyncIterator

import asyncpg
import pytest

from infra.migrate import CARETAKER, PROJECTIONS, READS
from services.identity.events import UserEnabled
from services.registry.events import ApplicationEnabled
from shared.log.append import Append
from shared.log.event import Catalogue
from shared.log.group_commit import AppendFailed
from shared.log.log import Log
from tests.support.permissions import refused
from tests.support.postgres import Database
from tests.support.theatre import Locked, Opened, Sold, context, positions, sale, send

SERVICES = tuple(READS)


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def signed_in(database: Database, service: str) -> AsyncIterator[asyncpg.Connection]:
    async with database.connection(service) as connection:
        yield connection


async def test_nobody_writes_or_reads_the_tables_of_the_log(database: Database, signed_in: asyncpg.Connection) -> None:
    async with database.connection() as superuser:
        tables = await superuser.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'log'::regnamespace AND relkind IN ('r', 'p')"
        )
    names = [table["relname"] for table in tables]
    assert {"gate", "head", "events", "streams", "names", "once", "denials", "epochs"} <= set(names)
    for name in names:
        for statement in (
            f"INSERT INTO log.{name} DEFAULT VALUES",
            f"DELETE FROM log.{name}",  # noqa: S608
            f"TRUNCATE log.{name}",
            f"SELECT count(*), max(t.*::text) FROM log.{name} t",  # noqa: S608
            f"LOCK TABLE log.{name} IN EXCLUSIVE MODE",
            f"DROP TABLE log.{name}",
            f"ALTER TABLE log.{name} ADD COLUMN more integer",
        ):
            assert await refused(signed_in, statement), statement
    for statement in (
        "UPDATE log.head SET position = 0",
        "SELECT position FROM log.head FOR UPDATE",
        "LOCK TABLE log.gate IN ACCESS SHARE MODE",
        "LOCK TABLE log.leader IN ACCESS SHARE MODE",
        "UPDATE log.events SET data = ''",
    ):
        assert await refused(signed_in, statement), statement
    assert await signed_in.fetchval("SELECT position FROM log.head") == 0


async def test_a_login_has_its_own_schema_and_makes_nothing_in_it(signed_in: asyncpg.Connection, service: str) -> None:
    assert not await refused(signed_in, f"DELETE FROM {service}.checkpoints")  # noqa: S608
    for statement in (
        f"CREATE TABLE {service}.mine (i integer)",
        f"CREATE FUNCTION {service}.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        f"TRUNCATE {service}.checkpoints",
        "CREATE TABLE public.mine (i integer)",
        "CREATE TABLE log.mine (i integer)",
        "CREATE TEMPORARY TABLE mine (i integer)",
        "CREATE SCHEMA mine",
        "SET ROLE log_owner",
        "SET SESSION AUTHORIZATION log_owner",
        "CREATE ROLE mine",
        *(f"SELECT 1 FROM {other}.checkpoints" for other in SERVICES if other != service),  # noqa: S608
        *(f"SET ROLE {other}" for other in SERVICES if other != service),
    ):
        assert await refused(signed_in, statement), statement


async def test_only_the_caretaker_takes_care(signed_in: asyncpg.Connection, service: str) -> None:
    for statement in (
        "SELECT log.care()",
        "SELECT log.condition()",
        "SELECT log.lead()",
        "SELECT log.leaf_hashes(0, 1)",
        "SELECT log.evidence(0, 1)",
        "SELECT log.hashes(0, 1)",
        "SELECT log.archivable('400 days')",
        "SELECT log.pruned_between(0, 1)",
        "SELECT log.pruned_to()",
    ):
        assert await refused(signed_in, statement) is (service != CARETAKER)
    for statement in (
        "SELECT log.make_room()",
        "SELECT log.prune_denials(0, 1)",
        "SELECT log.behind_pruning(ARRAY[1], ARRAY['session'], ARRAY['{}'])",
        "SELECT log.check_caretaker()",
        "SELECT log.closed_partitions()",
        "SELECT log.behind_partition('events_expiring_0')",
        "DROP TABLE log.events_expiring_0",
        "DROP TABLE log.events_lasting_0",
        "ALTER TABLE log.events_expiring DETACH PARTITION log.events_expiring_0",
        "CREATE OR REPLACE FUNCTION log.shortest_retention() RETURNS interval LANGUAGE sql AS $$ SELECT null $$",
        *(["SELECT log.prune(1, 1, '400 days')"] if service != CARETAKER else []),
        "SELECT log.make_event_partition('lasting', 0, 1)",
        "SELECT log.make_once_partition(now())",
        "SELECT log.current_epoch(null)",
        "SELECT log.readable(null)",
        "SELECT log.check_denial_reader()",
    ):
        assert await refused(signed_in, statement), statement


async def test_the_caretaker_lets_nothing_go_that_has_to_stay(database: Database) -> None:
    """`tests/integration/ledger/test_archiving.py` has each condition by itself."""
    async with database.connection(CARETAKER) as ledger:
        for first in (0, 1, 2**24):
            with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="does not begin the oldest full"):
                await ledger.execute("SELECT log.prune($1, 1, '400 days')", first)


async def test_each_rebuilds_its_own_tables_of_facts_and_no_others(signed_in: asyncpg.Connection, service: str) -> None:
    run = "r" * 22
    for owner, projections in PROJECTIONS.items():
        for projection in projections:
            shared = projection.name in {one.name for one in PROJECTIONS.get(service, ())}
            for statement in (
                f"SELECT log.begin_shadow('{projection.name}', 'next', '{run}')",
                f"SELECT log.drop_shadow('{projection.name}', 'next', '{run}')",
            ):
                assert await refused(signed_in, statement) is not shared, (owner, statement)
    assert await refused(signed_in, "SELECT log.hold_gate()") is (service not in PROJECTIONS)
    for statement in (
        f"SELECT log.begin_shadow('vault', 'next', '{run}')",
        f"SELECT log.flip('vault', '{run}', 1)",
        "SELECT log.own_read_model('own')",
        f"SELECT log.shadow_position('own', 'next', '{run}')",
        "SELECT log.shape('identity', 'vault')",
    ):
        assert await refused(signed_in, statement), statement


@pytest.mark.parametrize("service", list(PROJECTIONS), indirect=True)
async def test_a_shadow_is_the_services_own_and_nothing_else_is_touched(
    signed_in: asyncpg.Connection, service: str
) -> None:
    tables = "SELECT oid, relname FROM pg_class WHERE relnamespace = session_user::regnamespace AND relkind = 'r'"
    async with signed_in.transaction():
        before = set(await signed_in.fetch(tables))
        projection = PROJECTIONS[service][0]
        await signed_in.execute(f"SELECT log.begin_shadow('{projection.name}', 'next', '{'r' * 22}')")
        made = set(await signed_in.fetch(tables)) - before
        assert {row["relname"] for row in made} == {f"{table}__next" for table in projection.tables}
        assert await signed_in.fetchval(f"SELECT log.flip('{projection.name}', '{'r' * 22}', 1)") is True
        gone = before - set(await signed_in.fetch(tables))
        assert {row["relname"] for row in gone} == set(projection.tables)
        assert await refused(signed_in, f"CREATE INDEX ON {service}.{projection.tables[0]} (position)")


async def test_each_reads_its_own_sources(signed_in: asyncpg.Connection, service: str) -> None:
    for source in ("registry", "identity", "token_issuer", "resource"):
        own = source == service or source in READS[service]
        assert await refused(signed_in, f"SELECT log.read(0, ARRAY['{source}'], 1)") is not own
        matching = f"SELECT log.read_matching(0,null,1,null,ARRAY['{source}'],{','.join(['null'] * 10)})"
        assert await refused(signed_in, matching) is not own
    readers = {"token_issuer", "ledger"}
    for statement in ("SELECT log.active_denials()", "SELECT log.denials_after(0, 1)"):
        assert await refused(signed_in, statement) is (service not in readers)


async def test_a_stream_of_others_is_loaded_as_empty(office: Log, door: Log, theatre: Database) -> None:
    await office.append(sale("a"))
    visit = Append("visit-a", 0, (Opened(who="a"),), context())
    await door.append(visit)
    assert len((await door.load("ticket-a")).events) == 1
    assert (await office.load("visit-a")).events == ()
    assert [event.position for event in await office.read(0)] == [1]
    stranger = await theatre.log("stranger", Catalogue(Sold))
    assert (await stranger.load("ticket-a")).events == ()
    assert await stranger.read(0) == []


async def test_each_appends_its_own_types_to_its_own_streams(office: Log, door: Log, theatre: Database) -> None:
    wrong = [
        (office, Append("ticket-a", 0, (Opened(who="a"),), context())),
        (office, Append("visit-a", 0, (Sold(ticket="a"),), context())),
        (office, Append("nothing-a", 0, (Sold(ticket="a"),), context())),
        (office, Append("ticket", 0, (ApplicationEnabled(client_id="a"),), context())),
        (door, Append("visit-a", 0, (Sold(ticket="a"),), context())),
        (door, Append("visit-a", 0, (Opened(who="a"), Sold(ticket="a")), context())),
        (door, Append("ticket-a", None, (Locked(who="a"),), context())),
    ]
    for log, append in wrong:
        with pytest.raises(AppendFailed, match="may not append"):
            await log.append(append)
    for reader in ("watch", "stranger"):
        async with theatre.connection(reader) as connection:
            for append in (sale(), Append("street-a", 0, (Sold(ticket="a"),), context())):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await send(connection, append)
    assert await positions(theatre) == []


async def test_the_right_to_one_type_of_a_group_is_not_a_right_to_all(theatre: Database) -> None:
    async with theatre.connection("office") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await send(connection, sale(), Append("ticket-x", 0, (UserEnabled(sub="x"),), context()))
    assert await positions(theatre) == []


async def test_every_function_is_closed_and_those_with_rights_have_a_fixed_path(database: Database) -> None:
    async with database.connection() as superuser:
        functions = await superuser.fetch(
            """SELECT p.oid::regprocedure::text AS name, p.prosecdef, p.proconfig,
                      has_function_privilege('public', p.oid, 'EXECUTE') AS open,
                      pg_get_userbyid(p.proowner) AS owner
                 FROM pg_proc p WHERE p.pronamespace = 'log'::regnamespace"""
        )
        assert len(functions) > 10
        for function in functions:
            assert not function["open"], function["name"]
            assert "search_path=pg_catalog, pg_temp" in function["proconfig"], function["name"]
            assert function["owner"] == "log_owner"
        assert (
            await superuser.fetchval("SELECT rolcanlogin OR rolsuper FROM pg_roles WHERE rolname = 'log_owner'")
            is False
        )
        members = await superuser.fetchval(
            "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = ANY ($1)",
            [*SERVICES, "log_owner"],
        )
        assert members == 0


async def test_passwords_are_asked_for(database: Database, service: str) -> None:
    for wrong in ("", "guessed", None):
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InternalClientError)):
            await asyncpg.connect(database.dsn(service), password=wrong, passfile="/nowhere")
