from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import asyncpg
import pytest

from infra import migrate as stagedoor
from services.token_issuer import events as token_issuer
from services.token_issuer.read_model import Questions
from shared.ids import new_command_id, new_id
from shared.log.append import Append, Context
from shared.log.event import Catalogue, Event
from shared.log.migrate import migrate, scram_verifier
from shared.log.steps import Step
from tests.support.postgres import Database, Databases, passwords
from tests.support.schema import catalogue
from tests.support.theatre import OFFICE, TENANTS, Sold, sale


@pytest.fixture
async def own(databases: Databases) -> AsyncIterator[Database]:
    async with databases.fresh(TENANTS) as fresh:
        fresh.spoiled = True
        yield fresh


async def test_a_second_time_nothing_changes(own: Database) -> None:
    log = await own.log("office", OFFICE)
    await log.append(sale("a"))
    async with own.connection() as connection:
        before = await catalogue(connection)
        await migrate(connection, TENANTS, passwords(TENANTS))
        assert await catalogue(connection) == before
    await log.append(sale("a", 1))
    assert (await log.load("ticket-a")).version == 2
    assert [event.position for event in await log.read(0)] == [1, 2]


async def test_the_services_of_stagedoor_can_be_migrated_twice(database: Database) -> None:
    database.spoiled = True
    secrets = passwords(stagedoor.tenants())
    async with database.connection() as connection:
        before = await catalogue(connection)
        await stagedoor.migrate(database.dsn("postgres"), database.server.password, secrets)
        assert await catalogue(connection) == before


async def test_the_database_is_made_where_there_is_none(databases: Databases) -> None:
    dsn = databases.server.dsn("postgres", "made by the migration")
    await stagedoor.migrate(dsn, databases.server.password, passwords(stagedoor.tenants()))
    connection = await asyncpg.connect(dsn, password=databases.server.password)
    try:
        assert await connection.fetchval("SELECT position FROM log.head") == 0
    finally:
        await connection.close()


async def test_what_a_service_may_no_longer_do_is_taken_away(own: Database) -> None:
    def changed(login: str, **values: object) -> Sequence[object]:
        return [replace(t, **values) if t.login == login else t for t in TENANTS]  # type: ignore[arg-type]

    async with own.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM log.readers WHERE login = 'door'") == 1
        await migrate(connection, changed("door", reads=()), {})  # type: ignore[arg-type]
        assert await connection.fetchval("SELECT count(*) FROM log.readers WHERE login = 'door'") == 0
        await migrate(connection, changed("watch", takes_care=False), {})  # type: ignore[arg-type]
        assert not await connection.fetchval(
            "SELECT has_function_privilege('watch', 'log.care(bigint, integer)', 'EXECUTE')"
        )


async def test_it_is_all_or_nothing(own: Database) -> None:
    async with own.connection() as connection:
        before = await catalogue(connection)
        step = Step(2, "0002_more", "CREATE TABLE office.more (i integer); SELECT 1/0")
        broken = [replace(TENANTS[0], steps=(*TENANTS[0].steps, step)), *TENANTS[1:]]
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(connection, broken, {})
        assert await catalogue(connection) == before


async def test_a_verifier_lets_its_password_in_and_no_other(own: Database) -> None:
    async with own.connection() as connection:
        await connection.execute(f"ALTER ROLE stranger PASSWORD '{scram_verifier('another one')}'")
        try:
            stored = await connection.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'stranger'")
            assert stored.startswith("SCRAM-SHA-256$4096:")
            entered = await asyncpg.connect(own.dsn("stranger"), password="another one")
            await entered.close()
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(own.dsn("stranger"), password="another on")
        finally:
            password = passwords(TENANTS)["stranger"]
            await connection.execute(f"ALTER ROLE stranger PASSWORD '{scram_verifier(password)}'")
    with pytest.raises(ValueError, match="ASCII"):
        scram_verifier("pässword")


async def test_every_table_of_a_service_has_a_key_and_stands_in_its_schema(database: Database) -> None:
    async with database.connection() as connection:
        found = await connection.fetch(
            """SELECT c.oid::regclass::text AS name, n.nspname AS schema,
                      EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_key
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_|information_schema|^log$'"""
        )
    assert {row["schema"] for row in found} == set(stagedoor.READS)
    assert [row["name"] for row in found if not row["has_key"]] == []


def test_every_event_and_every_stream_has_one_owner() -> None:
    owners: dict[str, str] = {}
    for tenant in stagedoor.tenants():
        for event in tenant.events:
            assert issubclass(event, Event)
            assert event.source == tenant.login, event
            assert owners.setdefault(event.stored_as, tenant.login) == tenant.login
        for category in tenant.categories:
            assert owners.setdefault(category, tenant.login) == tenant.login
    assert "registry.ApplicationRegistered" in owners
    assert Sold.stored_as not in owners


async def test_signing_keys_of_before_rotation_are_kept(database: Database) -> None:
    database.spoiled = True
    async with database.connection() as connection:
        await connection.execute("""
            ALTER TABLE token_issuer.signing_keys ADD COLUMN activated bigint, ADD COLUMN withdrawn boolean,
                DROP COLUMN state, DROP COLUMN announced_at, DROP COLUMN use_from, DROP COLUMN activated_at,
                DROP COLUMN retire_from;
            DROP TABLE log.steps""")
        log = await database.log("token_issuer", Catalogue.of(token_issuer))
        facts = (
            token_issuer.SigningKeyCreated(
                kid="k", algorithm="ES256", use=token_issuer.KeyUse.ACCESS_TOKEN, public_jwk={"kty": "EC"}
            ),
            token_issuer.SigningKeyActivated(kid="k"),
        )
        await log.append(Append("keys-signing", 0, facts, Context("service:test", new_id(), new_command_id())))
        await connection.execute(
            "INSERT INTO token_issuer.signing_keys VALUES ('k', 'ES256', 'access_token', '{}', 1, 2, false)"
        )
        await stagedoor.migrate(database.dsn("postgres"), database.server.password, passwords(stagedoor.tenants()))
    _, (key,) = await Questions(log.pool).keys.all(private=True)
    assert (key.kid, key.state, key.retire_from) == ("k", "active", None)
    assert key.announced_at == key.activated_at == (await log.load("keys-signing")).events[0].recorded_at


async def test_an_upgrade_tells_nobody_of_logouts_of_before(database: Database) -> None:
    """The follower of ends of sessions begins at the head of a log that is there; later it stays where it is."""
    database.spoiled = True
    secrets = passwords(stagedoor.tenants())
    log = await database.log("token_issuer", Catalogue.of(token_issuer))
    key = token_issuer.SigningKeyRetired(kid="kid-1")
    await log.append(Append("keys-signing", 0, (key,), Context("service:test", new_id(), new_command_id())))
    reached = "SELECT position FROM token_issuer.checkpoints WHERE (projection, source) = ('logout', 'identity')"
    async with database.connection() as connection:
        await connection.execute("DROP TABLE token_issuer.logouts, token_issuer.logout_deliveries, log.steps")
        await connection.execute("DELETE FROM token_issuer.checkpoints")
        await stagedoor.migrate(database.dsn("postgres"), database.server.password, secrets)
        assert await connection.fetchval(reached) == 1
        again = Append("keys-signing", 1, (key,), Context("service:test", new_id(), new_command_id()))
        assert (await log.append(again)).position == 2
        await stagedoor.migrate(database.dsn("postgres"), database.server.password, secrets)
        assert await connection.fetchval(reached) == 1
