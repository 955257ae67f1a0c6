"""P7 and P10: how fresh read models are under a steady load, and who waits for whom in the database meanwhile."""

import asyncio
from time import perf_counter

import asyncpg
from rich.console import Console

from infra.local.process import until
from infra.local.system import System
from services.token_issuer.subscriptions import PROJECTION
from tests.benchmarks.load import Answers, Load, pinned
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result, Target
from tests.benchmarks.rounds import Spread, percentile
from tests.benchmarks.server_log import ServerLog, Wait
from tests.benchmarks.sign_ins import Round, SignIns, identity_log, somebody
from tests.benchmarks.stage import postgres_of, token_request

RATE = 500
"""Events a second."""
_CATCH_UP_SECONDS = 10.0
_LOOK_SECONDS = 0.001
_SAMPLE_SECONDS = 0.005
_CONNECTIONS = 10

_CHECKPOINT = "SELECT position FROM token_issuer.checkpoints WHERE projection = $1 AND source = 'identity'"
_WAITING = """
SELECT application_name, usename, wait_event, query LIKE '%log.append_with_rows%' AS appends
  FROM pg_stat_activity WHERE wait_event_type = 'Lock'
"""
_GATE = "SELECT 'relation ' || 'log.gate'::regclass::oid"
_GROUPS = "SELECT count(DISTINCT recorded_at) FROM log.events WHERE position > $1"


async def freshness(system: System, options: Options, console: Console) -> list[Result]:
    """P7: the identity service writes, its own tables and the token issuer's learn of it."""
    console.print(f"  P7: {RATE} events/s")
    server = ServerLog(postgres_of(system), "stagedoor")
    rounds: list[Round] = []
    lags: list[list[float]] = []
    log = await identity_log(system)
    try:
        async with server.connection() as eyes, server.connection() as watcher:
            sign_ins = SignIns(log, somebody(system), eyes)
            await sign_ins.run(RATE, 1.0)
            for _ in range(options.rounds):
                found = await _watched(sign_ins, watcher, 2 * options.seconds)
                lags.append(found.lags())
                rounds.append(found)
    finally:
        await log.close()
    errors = sum(found.errors for found in rounds)
    at = f"at {RATE} events/s"
    return [
        Result.of(
            "P7",
            f"own read model in the append's transaction, {at} (share)",
            "",
            Spread.of([sum(found.same) / len(found.same) for found in rounds]),
            target=Target(">=", 1),
            errors=errors,
        ),
        *(
            Result.of(
                "P7",
                f"from the append's answer to another service's read model, {at}: p{percent}",
                "ms",
                Spread.of([percentile(found, percent) for found in lags]),
                target=Target("<", 25) if percent == 99 else None,
                errors=errors,
            )
            for percent in (50, 99)
        ),
        Result.of(
            "P7", f"the append itself, {at}: p99", "ms", Spread.of([percentile(r.took, 99) * 1000 for r in rounds])
        ),
    ]


async def _watched(sign_ins: SignIns, watcher: asyncpg.Connection, seconds: float) -> Round:
    looks: list[tuple[int, float]] = []

    async def look() -> None:
        while True:
            position = await watcher.fetchval(_CHECKPOINT, PROJECTION) or 0
            # Seen now, so it was there by now: what is reported is never less than what was.
            if not looks or position > looks[-1][0]:
                looks.append((position, perf_counter()))
            await asyncio.sleep(_LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        found = await sign_ins.run(RATE, seconds)
        last = max(position for position, _ in found.acknowledged)

        async def caught_up() -> bool:
            return bool(looks) and looks[-1][0] >= last

        # What is missing then counts as an error.
        await until(caught_up, _CATCH_UP_SECONDS)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    found.looks = looks
    return found


async def waiting(system: System, options: Options, console: Console) -> list[Result]:
    """P10: two services append at once, and everything else goes on."""
    console.print(f"  P10: {RATE} events/s from two services")
    server = ServerLog(postgres_of(system), "stagedoor")
    application = system.demo["applications"][0]
    port = system.ports.http("token_issuer")
    request = token_request(port, application["client_id"], application["client_secret"])
    load = Load(port, request, _CONNECTIONS, interval=_CONNECTIONS / (RATE / 2))
    bystanders: list[float] = []
    samples: list[float] = []
    gates: list[float] = []
    groups: list[int] = []
    errors = 0
    log = await identity_log(system)
    try:
        async with (
            server.connection() as eyes,
            server.connection() as watcher,
            server.telling(log_lock_waits="on", deadlock_timeout="1ms"),
        ):
            sign_ins = SignIns(log, somebody(system), eyes)
            gate = await eyes.fetchval(_GATE)
            await sign_ins.run(RATE / 2, 1.0)
            for _ in range(options.rounds):
                server.mark()
                began = await log.head()
                found, answers, seen = await _sampled(sign_ins, load, watcher, 2 * options.seconds)
                waits = await server.waits()
                groups.append(await eyes.fetchval(_GROUPS, began.position))
                errors += found.errors + answers.errors
                samples.append(float(seen))
                bystanders.append(float(sum(not _appends(wait) for wait in waits)))
                gates.append(_gate_wait(waits, gate, groups[-1]))
    finally:
        await log.close()
    at = f"at {RATE} events/s"
    return [
        Result.of(
            "P10",
            f"waits of more than 1 ms for a lock, of statements that do not append, {at}",
            "",
            Spread.of(bystanders),
            target=Target("<=", 0),
            errors=errors,
        ),
        Result.of(
            "P10",
            f"samples that show such a statement waiting for a lock, {at}",
            "",
            Spread.of(samples),
            target=Target("<=", 0),
            errors=errors,
        ),
        Result.of(
            "P10",
            f"wait at the gate, {at}: p99 of {sum(groups):,} groups (1: not longer than that)",
            "ms",
            Spread.of(gates),
            target=Target("<", 25),
            errors=errors,
        ),
    ]


async def _sampled(
    sign_ins: SignIns, load: Load, watcher: asyncpg.Connection, seconds: float
) -> tuple[Round, Answers, int]:
    """Both loads, and how many statements that do not append were seen to wait."""
    seen = 0

    async def sample() -> None:
        nonlocal seen
        while True:
            seen += sum(not row["appends"] for row in await watcher.fetch(_WAITING))
            await asyncio.sleep(_SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        with pinned():
            found, answers = await asyncio.gather(sign_ins.run(RATE / 2, seconds), load.run(seconds, warm_up=0.1))
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
    return found, answers, seen


def _appends(wait: Wait) -> bool:
    return wait.application.endswith(" appends")


def _gate_wait(waits: list[Wait], gate: str, groups: int) -> float:
    """Milliseconds that 99 of 100 groups waited at the most; those that the server did not mention: one."""
    known = sorted(
        (wait.milliseconds for wait in waits if wait.acquired and _appends(wait) and wait.what == gate), reverse=True
    )
    place = groups // 100
    return known[place] if place < len(known) else 1.0
