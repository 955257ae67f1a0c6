"""Brings a database to what this version of Stagedoor needs; running it again, or twice at once, changes nothing.

    stagedoor migrate              with STAGEDOOR_MIGRATION_DATABASE, STAGEDOOR_MIGRATION_PASSWORD_FILE and
                                   STAGEDOOR_MIGRATION_PASSWORDS, a folder with a file <service>.database for each;
                                   for STAGEDOOR_MIGRATION_WAIT_SECONDS (60) it waits for a server that cannot be
                                   reached yet
    stagedoor migrate --check      changes nothing; says which steps are pending, and exits with 1 if any are

Here, and nowhere else, stands which service may write and read what in the log.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

from services.identity import events as identity
from services.identity import projections as of_identity
from services.ledger import events as ledger
from services.registry import events as registry
from services.registry import projections as of_registry
from services.resource import events as resource
from services.resource import projections as of_resource
from services.token_issuer import events as token_issuer
from services.token_issuer import projections as of_token_issuer
from shared.log import migrate as log
from shared.log.event import Catalogue
from shared.log.steps import Outlook, StepsRefused, read_steps
from shared.rebuild.projection import Projection
from shared.settings import read_secret

EVENTS: Mapping[str, ModuleType] = {
    "registry": registry,
    "identity": identity,
    "token_issuer": token_issuer,
    "resource": resource,
    "ledger": ledger,
}
"""The facts of each service; those of the ledger are what was asked of the log, and what was archived of it."""

CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "registry": ("application", "resource", "initial_access"),
    "identity": ("user", "session", "consent", "failures"),
    "token_issuer": (
        *("grant", "token", "revocation", "reference", "keys", "assertion", "proof", "pushed", "device", "use"),
    ),
    "resource": ("tour", "merchandise", "access"),
    "ledger": ("query", "archive"),
}
"""Whose streams are whose, by the first part of their names."""

READS: Mapping[str, tuple[str, ...]] = {
    "registry": (),
    "identity": ("registry",),
    "token_issuer": ("registry", "identity"),
    "resource": (),
    "ledger": ("registry", "identity", "token_issuer", "resource"),
}
"""Whose facts each service may read besides its own."""

PROJECTIONS: Mapping[str, tuple[Projection, ...]] = {
    "registry": of_registry.PROJECTIONS,
    "identity": of_identity.PROJECTIONS,
    "token_issuer": of_token_issuer.PROJECTIONS,
    "resource": of_resource.PROJECTIONS,
}
"""What of each service's tables is made of facts."""

CARETAKER = "ledger"
"""Looks after the log: its partitions, and what can be pruned."""

DATABASE = Path(__file__).resolve().parent / "postgres" / "database.sql"
"""What holds for the database as a whole."""
_SERVICES = Path(__file__).resolve().parent.parent / "services"
_MAINTENANCE = "postgres"
_CONNECT_SECONDS = 10.0
_WAIT_SECONDS = 60.0
_AGAIN_SECONDS = 1.0
_RECOVERY_LOOKS, _LOOK_SECONDS = 600, 0.1


def tenants() -> list[log.Tenant]:
    """All services, as the log knows them."""
    return [
        log.Tenant(
            login=service,
            events=tuple(Catalogue.of(EVENTS[service])) if service in EVENTS else (),
            categories=CATEGORIES[service],
            reads=READS[service],
            steps=read_steps(_SERVICES / service / "migrations"),
            projections=PROJECTIONS.get(service, ()),
            takes_care=service == CARETAKER,
        )
        for service in READS
    ]


async def migrate(dsn: str, password: str, passwords: Mapping[str, str]) -> Outlook:
    """Create the database that `dsn` names if there is none, and bring it to what is needed.

    `dsn` names a superuser, whose password is `password`; `passwords` are those of the services' logins. Answers which
    steps were taken, as `shared.log.migrate.migrate` does, and raises what that raises.
    """
    await _make_database(dsn, password)
    connection = await asyncpg.connect(dsn, password=password, timeout=_CONNECT_SECONDS)
    try:
        return await log.migrate(connection, tenants(), passwords, DATABASE.read_text())
    finally:
        await connection.close()


async def check(dsn: str, password: str) -> Outlook:
    """What a migration would do; raises `StepsRefused` if it would refuse. Changes nothing."""
    try:
        connection = await asyncpg.connect(dsn, password=password, timeout=_CONNECT_SECONDS)
    except asyncpg.InvalidCatalogNameError:
        return log.outlook_of_new(tenants())
    try:
        return await log.outlook(connection, tenants())
    finally:
        await connection.close()


async def _make_database(dsn: str, password: str) -> None:
    parts = urlsplit(dsn)
    name = unquote(parts.path.removeprefix("/"))
    maintenance = urlunsplit(parts._replace(path=f"/{_MAINTENANCE}"))
    connection = await asyncpg.connect(maintenance, password=password, timeout=_CONNECT_SECONDS)
    try:
        await _recovered(connection)
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            quoted = name.replace('"', '""')
            # Another migration may be making it at this moment.
            with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                await connection.execute(f'CREATE DATABASE "{quoted}"')
    finally:
        await connection.close()


async def _recovered(connection: asyncpg.Connection) -> None:
    """Wait for a server that is being restored; whoever meets it meanwhile can only read."""
    for _ in range(_RECOVERY_LOOKS):
        if not await connection.fetchval("SELECT pg_is_in_recovery()"):
            return
        await asyncio.sleep(_LOOK_SECONDS)
    raise OSError("the server only reads: it is a standby, or has not been restored to the end yet")


async def _migrate_when_reachable(dsn: str, password: str, passwords: Mapping[str, str], seconds: float) -> Outlook:
    """Migrate as soon as the server answers; what it answers is not tried again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await migrate(dsn, password, passwords)
        except (OSError, asyncpg.CannotConnectNowError):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)


def _seconds_to_wait() -> float:
    text = os.environ.get("STAGEDOOR_MIGRATION_WAIT_SECONDS") or str(_WAIT_SECONDS)
    try:
        return float(text)
    except ValueError:
        sys.exit("stagedoor: STAGEDOOR_MIGRATION_WAIT_SECONDS is not a number")


def main() -> None:
    """The same as `python -m infra.migrate [--check]`."""
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("stagedoor: the migration takes no arguments but --check")
    run(only_check=bool(sys.argv[1:]))


def run(*, only_check: bool) -> None:
    """Migrate the database that the environment names, or look whether that is needed; ends the process if not done."""
    names = ("DATABASE", "PASSWORD_FILE") if only_check else ("DATABASE", "PASSWORD_FILE", "PASSWORDS")
    given = {name: os.environ.get(f"STAGEDOOR_MIGRATION_{name}", "") for name in names}
    if not all(given.values()):
        sys.exit("stagedoor: the migration needs " + ", ".join(f"STAGEDOOR_MIGRATION_{name}" for name in names))
    password = read_secret(Path(given["PASSWORD_FILE"]), "the password of the migration's login")
    try:
        if only_check:
            sys.exit(_tell_pending(asyncio.run(check(given["DATABASE"], password))))
        folder = Path(given["PASSWORDS"])
        passwords = {
            service: read_secret(folder / f"{service}.database", f"the password of {service}") for service in READS
        }
        _tell_taken(asyncio.run(_migrate_when_reachable(given["DATABASE"], password, passwords, _seconds_to_wait())))
    except StepsRefused as refusal:
        sys.exit(f"stagedoor: {refusal.message}")
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as failure:
        sys.exit(f"stagedoor: the database cannot be migrated: {failure}")


def _tell_pending(outlook: Outlook) -> int:
    """Say what is pending, and whether anything is."""
    for schema, step in outlook.pending:
        print(f"pending: {schema} {step.name}")
    _tell_ahead(outlook)
    return 1 if outlook.pending else 0


def _tell_taken(outlook: Outlook) -> None:
    for schema, step in outlook.pending:
        print(f"taken: {schema} {step.name}")
    _tell_ahead(outlook)


def _tell_ahead(outlook: Outlook) -> None:
    if outlook.ahead:
        schemas = ", ".join(outlook.ahead)
        print(
            f"nothing is done: the database is ahead of this program in {schemas}, which can work with it all the same"
        )


if __name__ == "__main__":
    main()
