"""What is measured of appends: how long they take, how long of that at the gate, and in which company."""

import asyncio

import asyncpg
import pytest
from prometheus_client import REGISTRY

from infra.local.postgres import SUPERUSER
from infra.local.process import until
from shared.log.append import VersionConflict
from shared.log.connections import Connections
from shared.log.log import Log
from tests.integration.log.test_unknown_outcome import at_the_gate
from tests.support.postgres import Database
from tests.support.theatre import sale


def _measured(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"stagedoor_{name}", labels) or 0.0


async def test_an_append_says_how_long_it_stood_at_the_gate(office: Log, theatre: Database) -> None:
    await office.append(sale())
    before = {name: _measured(f"append_{name}") for name in ("gate_wait_seconds_sum", "seconds_sum", "seconds_count")}
    groups, commands = _measured("append_group_commands_count"), _measured("append_group_commands_sum")
    async with theatre.connection() as keeper:
        await keeper.execute("BEGIN; LOCK TABLE log.gate IN EXCLUSIVE MODE")
        waiting = [asyncio.create_task(office.append(sale())) for _ in range(3)]
        assert await until(at_the_gate(keeper), 20)
        await asyncio.sleep(0.3)
        assert _measured("append_waiting") == 3
        await keeper.execute("COMMIT")
        await asyncio.gather(*waiting)
    waited = _measured("append_gate_wait_seconds_sum") - before["gate_wait_seconds_sum"]
    took = _measured("append_seconds_sum") - before["seconds_sum"]
    assert 0.2 < waited < took
    assert _measured("append_seconds_count") - before["seconds_count"] == 3
    assert _measured("append_waiting") == 0
    assert _measured("append_group_commands_sum") - commands == 3
    assert 1 <= _measured("append_group_commands_count") - groups <= 3


async def test_what_became_of_commands_is_counted(office: Log) -> None:
    before = {outcome: _measured("append_outcomes_total", outcome=outcome) for outcome in ("appended", "conflict")}
    await office.append(sale("x"))
    with pytest.raises(VersionConflict):
        await office.append(sale("x", 5))
    for outcome, number in before.items():
        assert _measured("append_outcomes_total", outcome=outcome) == number + 1


async def test_a_question_that_waits_for_a_connection_is_measured(theatre: Database) -> None:
    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(theatre.dsn(SUPERUSER), password=theatre.server.password)

    pool = Connections(connect, 1)
    waited, made = _measured("pool_wait_seconds_count"), _measured("pool_connect_seconds_count")
    try:
        await pool.fetchval("SELECT 1")
        assert _measured("pool_wait_seconds_count") == waited, "one that need not wait is not"
        await asyncio.gather(*(pool.fetchval("SELECT pg_sleep(0.05)") for _ in range(3)))
    finally:
        await pool.close()
    assert _measured("pool_wait_seconds_count") == waited + 2
    assert _measured("pool_connect_seconds_count") == made + 1
