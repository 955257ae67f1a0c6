"""Without synchronous replication a server that is lost takes acknowledged events along, and the ledger says so."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from infra import migrate as stagedoor
from infra.local.postgres import Postgres
from services.ledger.care import Care
from shared.log.event import Catalogue
from tests.support.postgres import Database, Databases
from tests.support.postgres import folder_for_servers as folder_for_servers  # noqa: PLC0414  (a fixture)
from tests.support.work import Work, eventually


@pytest.fixture
async def own(folder_for_servers: Path) -> AsyncIterator[Database]:
    """A server of its own, whose settings the test changes."""
    server = Postgres(folder_for_servers / "postgres", fsync=False)
    await server.start()
    try:
        async with Databases(server).fresh(stagedoor.tenants()) as database:
            yield database
            async with database.connection() as connection:
                await connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
                await connection.execute("SELECT pg_reload_conf()")
    finally:
        await server.stop()


async def test_the_ledger_says_whether_a_commit_waits_for_another_server(own: Database, work: Work) -> None:
    log = await own.log("ledger", Catalogue())
    alone = Care(log, 600, 3600)
    assert alone.replication(required=True, demo=False).ok is False, "not known yet"
    work.start(alone.watch())
    await eventually(lambda: "without synchronous replication" in alone.replication(required=False, demo=False).detail)
    assert alone.replication(required=False, demo=False).ok is True
    assert alone.replication(required=True, demo=False).ok is False
    assert re.fullmatch("demo mode.*", alone.replication(required=True, demo=True).detail)
    assert REGISTRY.get_sample_value("stagedoor_log_synchronous_replication") == 0
    async with own.connection() as connection:
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (standby)'")
        await connection.execute("SELECT pg_reload_conf()")

        async def seen() -> bool:
            return bool(await connection.fetchval("SELECT current_setting('synchronous_standby_names')"))

        await eventually(seen)
    together = Care(log, 600, 3600)
    work.start(together.watch())
    await eventually(lambda: together.replication(required=True, demo=False).ok)
    assert together.replication(required=True, demo=False).detail == "synchronous"
    assert REGISTRY.get_sample_value("stagedoor_log_synchronous_replication") == 1
