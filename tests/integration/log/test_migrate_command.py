"""`stagedoor migrate`: what it says when it cannot, and that several may run at once."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from infra import migrate
from tests.support.postgres import Database, Databases, passwords


class TestTheCommand:
    @pytest.fixture
    def told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
        for service in migrate.READS:
            (tmp_path / f"{service}.database").write_text("x" * 43)
        (tmp_path / "superuser").write_text("x" * 43)
        monkeypatch.setenv("STAGEDOOR_MIGRATION_DATABASE", f"postgresql://postgres@/stagedoor?host={tmp_path}")
        monkeypatch.setenv("STAGEDOOR_MIGRATION_PASSWORD_FILE", str(tmp_path / "superuser"))
        monkeypatch.setenv("STAGEDOOR_MIGRATION_PASSWORDS", str(tmp_path))
        monkeypatch.setenv("STAGEDOOR_MIGRATION_WAIT_SECONDS", "0.2")
        return monkeypatch

    @pytest.mark.usefixtures("told")
    def test_no_server_comes(self) -> None:
        with pytest.raises(SystemExit, match=r"^stagedoor: the database cannot be migrated: "):
            migrate.main()

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("DATABASE", "", "STAGEDOOR_MIGRATION_DATABASE"),
            ("DATABASE", "nonsense", "cannot be migrated"),
            ("PASSWORDS", "/nowhere", "the password of registry"),
            ("PASSWORD_FILE", "/nowhere", "the password of the migration's login"),
            ("WAIT_SECONDS", "long", "STAGEDOOR_MIGRATION_WAIT_SECONDS"),
        ],
    )
    def test_it_is_told_something_wrong(self, told: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
        told.setenv(f"STAGEDOOR_MIGRATION_{name}", value)
        with pytest.raises(SystemExit) as end:
            migrate.main()
        assert said in str(end.value)
        assert "\n" not in str(end.value)


async def test_several_make_the_database_at_once(databases: Databases) -> None:
    made = Database(databases.server, f"made_{uuid4().hex}")
    server = databases.server
    dsn = server.dsn(database=made.name)
    given = passwords(migrate.tenants())
    await asyncio.gather(*(migrate.migrate(dsn, server.password, given) for _ in range(3)))
    async with made.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM log.types") > 0
