"""Back-ups and returns by the commands that docs/operations.md has: nobody who was erased comes back with one."""

import asyncio
import os
import re
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from infra import migrate
from infra.local.postgres import SUPERUSER, program
from services.identity import events
from services.identity.events import Role, UserKind
from services.identity.personal_keys import PersonalKeyRing
from services.identity.rebuild import make_again
from services.registry import events as registry_events
from shared.ids import new_id
from shared.keys import MasterKey
from shared.log.event import Catalogue
from shared.log.log import Log
from tests.support.identity_service import PASSWORD, Identity, sign_in
from tests.support.postgres import Database, Databases

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
MASTER = MasterKey(b"k" * 32)
"""Of the service under test."""


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    """One whose log holds the facts of this test alone."""
    async with databases.fresh(migrate.tenants()) as fresh:
        yield fresh


def documented(program: str) -> list[list[str]]:
    """How the page calls a program: for everything but the keys, and for the keys."""
    section = PAGE.read_text().partition("### Keys of people")[2].partition("\n#")[0]
    found = [shlex.split(line, comments=True) for line in re.findall(rf"^{program} .*$", section, re.MULTILINE)]
    assert len(found) == 2
    return found


async def run(database: Database, arguments: list[str], folder: Path) -> None:
    """As it stands there, but for the name of the database."""
    where = parse_qs(urlsplit(database.dsn(SUPERUSER)).query)
    named = [one.replace("--dbname=stagedoor", f"--dbname={database.name}") for one in arguments[1:]]
    process = await asyncio.create_subprocess_exec(
        program(arguments[0]),
        *(database.name if one == "stagedoor" else one for one in named),
        cwd=folder,
        env={
            **os.environ,
            "PGHOST": where["host"][0],
            "PGPORT": where["port"][0],
            "PGUSER": SUPERUSER,
            "PGPASSWORD": database.server.password,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()


@asynccontextmanager
async def empty(beside: Database) -> AsyncIterator[Database]:
    """A database without anything in it, for a back-up to be put into."""
    name = f"restored_{new_id().lower().replace('-', '_')}"
    async with beside.connection() as connection:
        await connection.execute(f"CREATE DATABASE {name}")
        made = Database(beside.server, name)
        try:
            yield made
        finally:
            await made.close()
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def restored(folder: Path, database: Database) -> None:
    for arguments in documented("pg_restore"):
        await run(database, arguments, folder)


async def as_identity(database: Database, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """What the last command of the page says, and its exit status."""
    ring = PersonalKeyRing(MASTER)
    catalogue = Catalogue.of(events, registry_events)
    log: Log = await database.log("identity", catalogue, personal_keys=ring)
    capsys.readouterr()
    status = await make_again(log, ring, check=False)
    return status, capsys.readouterr().out


async def people(database: Database) -> Mapping[str, str]:
    """Whom the service knows, by sub."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT sub, given_name FROM identity.users WHERE given_name IS NOT NULL")
    return {row["sub"]: row["given_name"] for row in rows}


async def test_nobody_who_was_erased_comes_back(
    identity: Identity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brian = await identity.register("brian", None, UserKind.INTERNAL, Role.ADMINISTRATOR)
    freddie = await identity.register("freddie", given_name="Farrokh")
    roger = await identity.register("roger", given_name="Meddows")
    await sign_in(identity.browser(), "freddie", PASSWORD)
    everything, keys = documented("pg_dump")
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    for arguments in (everything, keys):
        await run(identity.database, arguments, before)
    await identity.parts.erasure.erase(freddie, identity.context(), by=brian)
    for arguments in (everything, keys):
        await run(identity.database, arguments, after)

    # What is kept for long has nobody's name and nobody's key in it.
    async with empty(identity.database) as place:
        await run(place, documented("pg_restore")[0], before)
        assert await people(place) == {}
        async with place.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM identity.personal_keys") == 0
            assert await connection.fetchval("SELECT count(*) FROM log.events") > 0

    # The log knows of the erasure, the keys are older.
    _mixed(tmp_path / "old keys", everything=after, keys=before)
    async with empty(identity.database) as place:
        await restored(tmp_path / "old keys", place)
        async with place.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM identity.personal_keys WHERE sub = $1", freddie) == 1
        status, said = await as_identity(place, capsys)
        assert (status, "no key" in said) == (0, False)
        assert await people(place) == {roger: "Meddows"}

    # The log is older, the keys know of the erasure.
    _mixed(tmp_path / "old log", everything=before, keys=after)
    async with empty(identity.database) as place:
        await restored(tmp_path / "old log", place)
        status, said = await as_identity(place, capsys)
        assert (status, said.count("no key"), f"{freddie}: no key" in said) == (1, 1, True)
        assert await people(place) == {roger: "Meddows"}


def _mixed(folder: Path, *, everything: Path, keys: Path) -> None:
    folder.mkdir()
    (folder / "stagedoor.dump").symlink_to(everything / "stagedoor.dump")
    (folder / "keys.dump").symlink_to(keys / "keys.dump")
