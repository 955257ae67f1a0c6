"""The ledger looks after the log on a timer, and says so when nobody does."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from services.ledger.care import Care
from services.registry import events as registry
from shared.leadership import Leadership
from shared.log.log import Log
from tests.support.facts import Facts
from tests.support.log_lines import LogLines
from tests.support.log_lines import log_lines as log_lines  # noqa: PLC0414  (a fixture)
from tests.support.postgres import password
from tests.support.work import Work, eventually

ONCE_A_DAY = 86_400.0


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
async def log(facts: Facts) -> Log:
    return await facts.log("ledger")


async def cared_at(facts: Facts) -> object:
    async with facts.database.connection() as connection:
        return await connection.fetchval("SELECT at FROM log.care_taken")


async def test_it_makes_drops_and_prunes_and_counts_what_it_did(facts: Facts, log: Log, work: Work) -> None:
    facts.database.spoiled = True
    changes = ("event_partitions_made", "once_partitions_made", "once_partitions_dropped", "denials_pruned")

    def counted() -> list[float]:
        return [metric("stagedoor_care_changes_total", what=what) for what in changes]

    for _ in range(3):
        await facts.write("application-a", registry.ApplicationChanged(client_id="a", settings=SETTINGS, narrowed=True))
    await facts.execute("UPDATE log.denials SET recorded_at = recorded_at - interval '25 hours'")
    await facts.execute("SELECT log.make_once_partition(date_trunc('day', now(), 'UTC') - interval '3 days')")
    await facts.execute("UPDATE log.head SET position = 20000000, once_from = once_from - interval '3 days'")
    async with facts.database.connection() as connection:
        last = await connection.fetchval(
            "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'log.once'::regclass"
        )
        await connection.execute(f"DROP TABLE {last}")
        await connection.execute("UPDATE log.head SET once_until = once_until - interval '1 day'")
    before = counted()
    care = Care(log, ONCE_A_DAY, 3600)
    assert not care.readiness().ok
    taking = work.start(care.take())
    await eventually(lambda: care.readiness().ok)
    await work.stop(taking)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [2, 1, 1, 2]
    assert metric("stagedoor_log_positions_ahead") == 3 * 2**24 - 20_000_000
    assert 14 <= metric("stagedoor_log_once_days_ahead") <= 15
    moment = await cared_at(facts)
    assert abs(metric("stagedoor_care_last_success_seconds") - moment.timestamp()) < 5  # type: ignore[attr-defined]  # a time


async def test_every_replica_knows_when_nobody_has_looked_after_the_log(facts: Facts, log: Log, work: Work) -> None:
    watching = Care(log, ONCE_A_DAY, alarm_seconds=60)
    work.start(watching.watch())
    await eventually(lambda: watching.readiness().detail == "the log was never looked after")
    assert not watching.readiness().ok
    await facts.execute("INSERT INTO log.care_taken (at) VALUES (now() - interval '2 minutes')")
    late = Care(log, ONCE_A_DAY, alarm_seconds=60)
    work.start(late.watch())
    await eventually(lambda: "2 minutes ago" in late.readiness().detail)
    assert not late.readiness().ok
    patient = Care(log, ONCE_A_DAY, alarm_seconds=600)
    work.start(patient.watch())
    await eventually(lambda: patient.readiness().ok)


async def test_a_failure_is_counted_and_ends_nothing(facts: Facts, log: Log, work: Work, log_lines: LogLines) -> None:
    """The leader relays too, so it must not end because partitions cannot be made."""
    facts.database.spoiled = True
    await facts.execute("REVOKE EXECUTE ON FUNCTION log.care FROM ledger")
    before = metric("stagedoor_care_failures_total")
    care = Care(log, 0.05, 3600)
    taking = work.start(care.take())
    await eventually(lambda: metric("stagedoor_care_failures_total") >= before + 2)
    assert log_lines.named("care_failed")[0]["error"] == "InsufficientPrivilegeError"
    assert not taking.done()
    await facts.execute("GRANT EXECUTE ON FUNCTION log.care TO ledger")
    await eventually(lambda: care.readiness().ok)


@asynccontextmanager
async def caring_process(facts: Facts) -> AsyncIterator[asyncio.subprocess.Process]:
    """A leader in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.care_process",
        facts.database.dsn("ledger"),
        "0.2",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"leading\n"
        yield process
    finally:
        process.kill()
        await process.wait()


async def test_a_stopped_leader_is_replaced_and_steps_back(facts: Facts, log: Log, work: Work) -> None:
    """SIGSTOP: it holds the lock and its connection, says nothing, and cannot know that it was stopped."""
    other = Leadership(facts.database.dsn("ledger"), password("ledger"), "ledger")
    care = Care(log, 0.2, 3600)
    async with caring_process(facts) as process:
        await eventually(lambda: cared(facts))
        leading = work.start(other.run(care.take))
        process.send_signal(signal.SIGSTOP)
        await facts.execute("TRUNCATE log.care_taken")
        await eventually(lambda: other.leading, 30)
        await eventually(lambda: cared(facts))
        process.send_signal(signal.SIGCONT)
        await work.stop(leading)
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"leading\n", "it has lost its leadership, and found it again"


async def cared(facts: Facts) -> bool:
    return await cared_at(facts) is not None


SETTINGS = registry.ApplicationSettings(
    display_name="A", type=registry.ApplicationType.PUBLIC, auth_method=registry.AuthMethod.NONE
)
