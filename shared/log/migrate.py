"""Brings a database to what this version of the log needs. Running it again changes nothing.

It is run by a superuser (or whoever may create roles and schemas), never by a service. Everything of the log belongs
to `log_owner`, which cannot sign in.

Tables change by steps (`shared.log.steps`), each taken once. Functions and rights have no steps: they are what the
scripts say, at each run. Services go on while it runs: a function keeps its identity when it is replaced.
"""

import asyncio
import hashlib
import hmac
import random
import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from shared.log.event import Event
from shared.log.steps import LOG_STEPS, Outlook, Step, compare, prepare, read_steps, take, taken_steps, write_down
from shared.rebuild.projection import Projection

OWNER = "log_owner"
_SCRIPTS = (
    "steps.sql",
    "care.sql",
    "append.sql",
    "rows.sql",
    "read.sql",
    "evidence.sql",
    "read_models.sql",
    "archive.sql",
)
_FOR_EVERYBODY = (
    "append",
    "append_with_rows",
    "write_rows",
    "stamped",
    "apply",
    "load",
    "read",
    "read_page",
    "read_matching",
    "read_matching_page",
    "active_denials",
    "known_epochs",
    "schema_steps",
    "denials_after",
    "read_model_versions",
    "begin_shadow",
    "analyze_shadow",
    "drop_shadow",
    "hold_gate",
    "flip",
)
_FOR_CARETAKERS = (
    "care",
    "condition",
    "lead",
    "leaf_hashes",
    "hashes",
    "evidence",
    "evidence_page",
    "archivable",
    "prune",
    "pruned_between",
    "pruned_to",
)
_CHECKPOINTS = """
    CREATE TABLE IF NOT EXISTS {schema}.checkpoints (
        projection text NOT NULL,
        source text NOT NULL,
        position bigint NOT NULL,
        PRIMARY KEY (projection, source)
    )"""
_FUNCTIONS = """
    SELECT p.oid, p.xmin::text AS written, p.oid::regprocedure::text AS name
      FROM pg_proc p WHERE p.pronamespace = to_regnamespace('log')"""
_LOCK_MILLISECONDS = 100
"""How long a step waits for a table that somebody holds. Whoever comes after it waits behind it; and where each of two
waits for what the other holds, the migration gives way before the server (after a second) ends the other."""
_TRIES = 200
_PAUSE_SECONDS = (0.05, 0.3)
_ONE_AT_A_TIME = 7_358_112_409_001
"""Key of the advisory lock that keeps two migrations apart."""
_SCRAM_ROUNDS = 4096


@dataclass(frozen=True, slots=True)
class Tenant:
    """A service, as the log knows it."""

    login: str
    """Its role; its schema has the same name."""
    events: tuple[type[Event], ...]
    """What it may append."""
    categories: tuple[str, ...]
    """First parts of the names of the streams that it may append to."""
    reads: tuple[str, ...] = ()
    """The sources that it may read besides its own."""
    steps: tuple[Step, ...] = ()
    """How the tables of its schema came to be."""
    projections: tuple[Projection, ...] = ()
    """What of it is made of facts, and can be made again."""
    takes_care: bool = False
    """It may call the functions that look after the log."""


async def migrate(
    connection: asyncpg.Connection, tenants: Sequence[Tenant], passwords: Mapping[str, str], database: str = ""
) -> Outlook:
    """Bring the database to what is needed, all or nothing; `database` is SQL that holds for it as a whole.

    Answers which steps were taken, and of which schemas the database is ahead; then nothing was changed. Raises
    `StepsRefused` if its steps do not fit those of this program.
    """
    for left in range(_TRIES, 0, -1):
        try:
            return await _migrate(connection, tenants, passwords, database)
        except asyncpg.LockNotAvailableError:  # everything is as it was, and whoever waited behind goes on
            if left == 1:
                raise
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311  (dice, not secrets)
    raise AssertionError


async def outlook(connection: asyncpg.Connection, tenants: Sequence[Tenant]) -> Outlook:
    """What there would be to do; changes nothing."""
    return compare(_known(tenants), await taken_steps(connection) or {})


def outlook_of_new(tenants: Sequence[Tenant]) -> Outlook:
    """What there would be to do in a database that is not there yet."""
    return compare(_known(tenants), {})


def _known(tenants: Sequence[Tenant]) -> Mapping[str, Sequence[Step]]:
    return {"log": read_steps(LOG_STEPS), **{tenant.login: tenant.steps for tenant in tenants}}


async def _migrate(
    connection: asyncpg.Connection, tenants: Sequence[Tenant], passwords: Mapping[str, str], database: str
) -> Outlook:
    async with connection.transaction():
        await connection.execute("SET LOCAL client_min_messages = warning")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _ONE_AT_A_TIME)
        await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}")
        taken = await taken_steps(connection)
        todo = compare(_known(tenants), taken or {})
        if todo.ahead:
            return todo
        if database:
            await connection.execute(database)
        await _make_owner(connection)
        for tenant in tenants:
            await _make_login(connection, tenant.login, passwords.get(tenant.login))
        await _make_log(connection, todo, first=taken is None)
        for tenant in tenants:
            await _make_schema(connection, tenant, todo)
            await _make_read_models(connection, tenant)
            await _allow(connection, tenant)
        return todo


async def _make_owner(connection: asyncpg.Connection) -> None:
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", OWNER):
        await connection.execute(f"CREATE ROLE {OWNER}")
    await connection.execute(f"""
        ALTER ROLE {OWNER} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
        ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
        CREATE SCHEMA IF NOT EXISTS log AUTHORIZATION {OWNER};
        REVOKE ALL ON SCHEMA log FROM PUBLIC""")


async def _make_login(connection: asyncpg.Connection, login: str, password: str | None) -> None:
    role = _identifier(login)
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", login):
        await connection.execute(f"CREATE ROLE {role}")
    database = _identifier(await connection.fetchval("SELECT current_database()"))
    # The limits bound a session that hangs; whoever means harm could set others for itself.
    await connection.execute(f"""
        ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT;
        ALTER ROLE {role} SET statement_timeout = '30s';
        ALTER ROLE {role} SET lock_timeout = '10s';
        ALTER ROLE {role} SET idle_in_transaction_session_timeout = '15s';
        GRANT CONNECT ON DATABASE {database} TO {role}""")
    if password is not None:
        await connection.execute(f"ALTER ROLE {role} PASSWORD '{scram_verifier(password)}'")


async def _make_log(connection: asyncpg.Connection, todo: Outlook, *, first: bool) -> None:
    await connection.execute(f"SET LOCAL ROLE {OWNER}")
    await prepare(connection)
    if first:  # nothing is known of what there was before there were steps, but that the scripts replace it
        await _drop(connection, await connection.fetch(_FUNCTIONS))
    await take(connection, "log", todo.pending)
    before = {(row["oid"], row["written"]) for row in await connection.fetch(_FUNCTIONS)}
    for script in _SCRIPTS:
        await connection.execute(Path(__file__).with_name(script).read_text())
    # What no script has written anew is in none of them any more.
    await _drop(
        connection, [row for row in await connection.fetch(_FUNCTIONS) if (row["oid"], row["written"]) in before]
    )
    await connection.execute("SELECT log.make_room()")
    await write_down(connection, todo.pending)
    await connection.execute("RESET ROLE")


async def _drop(connection: asyncpg.Connection, functions: Sequence[asyncpg.Record]) -> None:
    for function in functions:
        await connection.execute(f"DROP FUNCTION {function['name']}")


async def _make_schema(connection: asyncpg.Connection, tenant: Tenant, todo: Outlook) -> None:
    schema = _identifier(tenant.login)
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}; REVOKE ALL ON SCHEMA {schema} FROM PUBLIC")
    await connection.execute(_CHECKPOINTS.format(schema=schema))
    await take(connection, tenant.login, todo.pending)
    await connection.execute(f"""
        GRANT USAGE ON SCHEMA {schema} TO {schema};
        REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {schema}""")


async def _make_read_models(connection: asyncpg.Connection, tenant: Tenant) -> None:
    """Let the functions of the log make the tables of facts again; all others of the schema are out of their reach."""
    schema = _identifier(tenant.login)
    await connection.execute(f"""
        GRANT USAGE, CREATE ON SCHEMA {schema} TO {OWNER};
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.checkpoints TO {OWNER}""")
    # Only where it is not so yet: nobody can read a table while its owner is changed.
    theirs = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename = ANY ($2) AND tableowner <> $3",
        tenant.login,
        [table for projection in tenant.projections for table in projection.tables],
        OWNER,
    )
    for table in theirs:
        await connection.execute(f"ALTER TABLE {schema}.{_identifier(table['tablename'])} OWNER TO {OWNER}")
    await connection.execute(
        "DELETE FROM log.read_models WHERE login = $1 AND projection <> ALL ($2)",
        tenant.login,
        [projection.name for projection in tenant.projections],
    )
    # The version stays that of the rows that are there.
    await connection.executemany(
        """INSERT INTO log.read_models (login, projection, sources, tables, version, rebuilt_to)
           VALUES ($1, $2, $3, $4, $5, 0)
           ON CONFLICT (login, projection) DO UPDATE SET sources = excluded.sources, tables = excluded.tables""",
        [
            (tenant.login, projection.name, list(projection.sources), list(projection.tables), projection.version)
            for projection in tenant.projections
        ],
    )


async def _allow(connection: asyncpg.Connection, tenant: Tenant) -> None:
    role = _identifier(tenant.login)
    functions = [*_FOR_EVERYBODY, *(_FOR_CARETAKERS if tenant.takes_care else ())]
    await connection.execute(f"""
        REVOKE ALL ON ALL TABLES IN SCHEMA log FROM {role};
        REVOKE ALL ON ALL FUNCTIONS IN SCHEMA log FROM {role};
        GRANT USAGE ON SCHEMA log TO {role};
        GRANT SELECT (epoch, position, denial_number, recorded_at) ON log.head TO {role};
        {"".join(f"GRANT EXECUTE ON FUNCTION log.{name} TO {role};" for name in functions)}""")
    await connection.executemany(
        """INSERT INTO log.types (type, login, retention, denial_kinds) VALUES ($1, $2, $3, $4)
           ON CONFLICT (type) DO UPDATE
              SET login = excluded.login, retention = excluded.retention, denial_kinds = excluded.denial_kinds""",
        [
            (event.stored_as, tenant.login, event.retention.value, sorted(str(kind) for kind in event.denial_kinds))
            for event in tenant.events
        ],
    )
    await connection.executemany(
        "INSERT INTO log.categories (category, login) VALUES ($1, $2)"
        " ON CONFLICT (category) DO UPDATE SET login = excluded.login",
        [(category, tenant.login) for category in tenant.categories],
    )
    if tenant.takes_care:
        await connection.execute(
            "INSERT INTO log.caretakers (login) VALUES ($1) ON CONFLICT (login) DO NOTHING", tenant.login
        )
    else:
        await connection.execute("DELETE FROM log.caretakers WHERE login = $1", tenant.login)
    await connection.execute("DELETE FROM log.readers WHERE login = $1", tenant.login)
    await connection.executemany(
        "INSERT INTO log.readers (login, source) VALUES ($1, $2)", [(tenant.login, source) for source in tenant.reads]
    )


def scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803), computed here: the password itself never reaches the server.

    The password has to be ASCII, which generated ones are; others would need preparing first (RFC 4013).
    """
    if not password.isascii():
        raise ValueError("a database password is ASCII")
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${_SCRAM_ROUNDS}:{salt_text}${stored_text}:{server_text}"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
