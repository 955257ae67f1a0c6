"""One seeded run: load and faults side by side, then quiet, then the verdict."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from infra.local.ports import SERVICES, Ports
from infra.local.process import until
from tests.chaos.aftermath import look_at_it, whole_log
from tests.chaos.clients import Clients
from tests.chaos.faults import ANSWER_SECONDS, Faults
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.report import Report
from tests.chaos.restoring import lose_a_tail
from tests.chaos.system import ChaosSystem
from tests.chaos.verdict import judge
from tests.support.ports import free_ports

AHEAD_SECONDS = 3700
"""A token that lives for an hour would have ended by this clock when it is issued."""
_LOOK_SECONDS = 0.1


async def run(
    folder: Path, seed: int, seconds: float, *, few: bool = False, say: Callable[[str], None] = lambda _: None
) -> Report:
    """Run a system of its own in a folder, under load and faults for at least so long, and judge.

    `few`: those faults alone that take little time; no further replicas, no full disk, no back-up.
    `say` is told what is done, as it is.
    """
    began = time.monotonic()
    async with ChaosSystem(folder, large=not few) as system:
        journal = Journal()
        replicas, ahead = ([], None) if few else await _replicas(system)
        clients = Clients(system, journal, ahead)
        load = Load(clients, seed)
        faults = Faults(system, seed, replicas=replicas, few=few, say=say)
        held: list[str] = []
        try:
            journal.wrong += await _run(load, faults, seconds, system)
            say("looking at what came of it")
            verdict = judge(journal, await whole_log(system))
            await look_at_it(system, clients, load, verdict, held, few=few)
            if not few:
                say("restore a back-up that lost a tail")
                verdict.wrong += await lose_a_tail(system, clients, load, held)
                faults.done += ["clock an hour off", "a back-up restored that lost a tail"]
        finally:
            await clients.close()
    return Report(
        seed,
        time.monotonic() - began,
        journal,
        tuple(faults.done),
        tuple(faults.left_out),
        dict(faults.effects),
        faults.slowest,
        verdict,
        held,
    )


async def _replicas(system: ChaosSystem) -> tuple[list[str], Ports]:
    """A second token issuer, whose clock is ahead from the beginning to the end; its name, and its ports."""
    own = free_ports()
    name = await system.add_replica("token_issuer", own, ("tests.support.clock_ahead", str(AHEAD_SECONDS)))
    return [name], own


async def _run(load: Load, faults: Faults, seconds: float, system: ChaosSystem) -> list[str]:
    working = asyncio.create_task(load.run())
    try:
        async with _watched(system, faults) as ended:
            await faults.run(seconds)
            await system.ready(ANSWER_SECONDS)
            late = await _late(load)
    finally:
        load.end()
        await working
    return late + ended


@asynccontextmanager
async def _watched(system: ChaosSystem, faults: Faults) -> AsyncIterator[list[str]]:
    """No service ends by itself, whatever becomes of the others; those that do are told, and started again."""
    ended: list[str] = []

    async def watch(names: Sequence[str]) -> None:
        while True:
            for name in names:
                part = system.part(name)
                if name not in faults.down and not part.running:
                    ended.append(f"{name} ended by itself ({part.exit_status}): {part.last_words()}")
                    await system.start_part(name)
            await asyncio.sleep(_LOOK_SECONDS)

    watching = asyncio.create_task(watch(SERVICES))
    try:
        yield ended
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _late(load: Load) -> list[str]:
    """In the quiet after the faults every worker finishes a whole round, and soon; who does not."""
    before = dict(load.rounds)

    async def served() -> bool:
        return all(load.rounds[name] > count for name, count in before.items())

    if await until(served, ANSWER_SECONDS):
        return []
    return [f"{name} is not served again" for name, count in before.items() if load.rounds[name] == count]
