"""A rebuild that is stopped or killed anywhere changes nothing, hinders nobody for long, and can be begun again."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from infra.local.services import python_environment
from shared.log.log import Log
from shared.rebuild.comparing import differences
from shared.rebuild.rebuilding import rebuild
from tests.support.postgres import Database
from tests.support.rebuild_process import THERE
from tests.support.theatre import TICKETS, sell
from tests.support.work import eventually

PATIENCE_SECONDS = 30.0
"""Of whoever appends; after that they are told that the log does not answer."""


@asynccontextmanager
async def stopped(theatre: Database, step: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A rebuild that has come to this step, and goes no further; killed in the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.rebuild_process", theatre.dsn("office"), step),
        env=python_environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip() == THERE
        yield process
    finally:
        process.kill()
        await process.wait()


async def tables(office: Log) -> list[dict[str, Any]]:
    rows = await office.pool.fetch("SELECT t.*, tableoid FROM tickets t ORDER BY id")
    return [dict(row) for row in rows]


@pytest.mark.parametrize("step", ["begun", "fed", "gate", "swapped"])
async def test_killed_at_any_step_it_changes_nothing_and_can_be_begun_again(
    theatre: Database, office: Log, step: str
) -> None:
    for number in range(10):
        await sell(office, f"t{number}")
    before = await tables(office)
    async with stopped(theatre, step):
        pass

    async def gone() -> bool:
        async with theatre.connection() as connection:
            return not await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'office' AND xact_start IS NOT NULL"
            )

    await eventually(gone)
    assert await tables(office) == before
    await sell(office, "after")
    assert await differences(office, (TICKETS,)) == []
    assert [told.live async for told in rebuild(office, TICKETS)][-1]
    assert await differences(office, (TICKETS,)) == []
    assert len(await tables(office)) == 11


@pytest.mark.parametrize("step", ["gate", "swapped"])
async def test_one_that_stands_still_at_the_gate_is_thrown_out(theatre: Database, office: Log, step: str) -> None:
    """It never goes on, and never lets go: nobody who appends is refused for it."""
    await sell(office, "before")
    before = await tables(office)
    async with stopped(theatre, step) as process:
        began = time.monotonic()
        position = await sell(office, "meanwhile")
        assert time.monotonic() - began < PATIENCE_SECONDS
        assert process.returncode is None
        found = await tables(office)
        assert [row["id"] for row in found] == ["before", "meanwhile"]
        assert found[0] == before[0], "the tables are the same ones"
        assert found[1]["position"] == position
    assert await differences(office, (TICKETS,)) == []


async def test_readers_are_let_in_again_by_one_that_stands_still(theatre: Database, office: Log) -> None:
    await sell(office, "a")
    async with stopped(theatre, "swapped"):
        began = time.monotonic()
        assert len(await tables(office)) == 1
        assert time.monotonic() - began < PATIENCE_SECONDS
