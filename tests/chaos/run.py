"""One seeded run: load and faults side by side, then quiet, then the verdict."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from infra.local.ports import SERVICES
from infra.local.process import until
from infra.local.system import System
from shared.ids import new_id
from tests.chaos.clients import Clients
from tests.chaos.faults import ANSWER_SECONDS, Faults
from tests.chaos.journal import Journal, Outcome
from tests.chaos.load import Load
from tests.chaos.stream import differences
from tests.chaos.verdict import WHOLE_LOG, Verdict, Written, judge
from tests.support import read_models
from tests.support.ports import free_ports

SETTINGS = {"STAGEDOOR_REFRESH_GRACE_SECONDS": "60"}
"""The load tries a refresh again for as long as a restart may take."""
_CAUGHT_UP_SECONDS = 30.0
_OK, _UNAUTHORIZED = 200, 401


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run."""

    seed: int
    seconds: float
    journal: Journal
    faults: tuple[str, ...]
    slowest: float
    verdict: Verdict

    @property
    def clean(self) -> bool:
        """Whether nothing was lost or doubled, and nothing else went wrong."""
        return self.verdict.clean

    def lines(self) -> list[str]:
        """The report, for a terminal."""
        kinds = ", ".join(f"{count} {what}" for what, count in sorted(self.journal.kinds().items()))
        numbers = {
            "tried": len(self.journal.operations),
            **{outcome.value: self.journal.count(outcome) for outcome in Outcome},
            "lost": len(self.verdict.lost),
            "doubled": len(self.verdict.doubled),
            "wrong otherwise": len(self.verdict.wrong),
        }
        return [
            f"seed {self.seed}, {self.seconds:.0f} s, {len(self.faults)} faults: {', '.join(self.faults)}",
            f"ready again within {self.slowest:.1f} s at the longest",
            f"acknowledged: {kinds}",
            *(f"operations {name:16} {number:6}" for name, number in numbers.items()),
            *(f"  lost: {one}" for one in self.verdict.lost),
            *(f"  doubled: {one}" for one in self.verdict.doubled),
            *(f"  wrong: {one}" for one in self.verdict.wrong),
        ]


async def run(folder: Path, seed: int, seconds: float) -> Report:
    """Run a system of its own in a folder, under load and faults for at least so long, and judge."""
    began = time.monotonic()
    async with System(folder, ports=free_ports(), durable=False, settings=SETTINGS) as system:
        journal = Journal()
        clients = Clients(system, journal)
        load, faults = Load(clients, seed), Faults(system, seed)
        try:
            journal.wrong += await _run(load, faults, seconds, system)
            verdict = judge(journal, await log(system))
            verdict.wrong += await aftermath(system, clients, load)
        finally:
            await clients.close()
    return Report(seed, time.monotonic() - began, journal, tuple(faults.done), faults.slowest, verdict)


async def _run(load: Load, faults: Faults, seconds: float, system: System) -> list[str]:
    working = asyncio.create_task(load.run())
    try:
        await faults.run(seconds)
        await system.ready(ANSWER_SECONDS)
        late = await _late(load)
    finally:
        load.end()
        await working
    return late


async def _late(load: Load) -> list[str]:
    """In the quiet after the faults every worker finishes a whole round, and soon; who does not."""
    before = dict(load.rounds)

    async def served() -> bool:
        return all(load.rounds[name] > count for name, count in before.items())

    if await until(served, ANSWER_SECONDS):
        return []
    return [f"{name} is not served again" for name, count in before.items() if load.rounds[name] == count]


async def log(system: System) -> list[Written]:
    return [Written.of(row) for row in await _ask(system, WHOLE_LOG)]


async def _ask(system: System, statement: str) -> list[Any]:
    connection = await asyncpg.connect(system.postgres.dsn(), password=system.postgres.password)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def aftermath(system: System, clients: Clients, load: Load) -> list[str]:
    """What is wrong with what was made of the log: views, rows, the stream, and verdicts on tokens."""
    wrong = await _behind(system)
    wrong += await differences(system)
    wrong += await _rows(system, load)
    wrong += await _tokens(clients, load)
    return wrong


async def _behind(system: System) -> list[str]:
    """Every follower has come to the last event of every source that it follows."""
    views = " UNION ALL ".join(
        f"SELECT '{service}' AS service, projection, source, position FROM {service}.checkpoints"  # noqa: S608
        for service in SERVICES
    )
    statement = f"""
        SELECT v.*, (SELECT max(e.position) FROM log.events e WHERE e.source = v.source) AS last FROM ({views}) v
    """  # noqa: S608  (names of ours, above and here)
    behind: list[str] = []

    async def caught_up() -> bool:
        rows = await _ask(system, statement)
        behind[:] = [f"{row['service']} is at {row['position']} of {row['source']}, not {row['last']}" for row in rows
                     if row["position"] != row["last"]]  # fmt: skip
        return bool(rows) and not behind

    await until(caught_up, _CAUGHT_UP_SECONDS, every=0.1)
    return list(behind)


async def _rows(system: System, load: Load) -> list[str]:
    """Every row is what a rebuild would make of the log, and tours are as their last change left them."""
    wrong = [f"{one.table} {dict(one.key)}: {one.what}" for one in await read_models.differences(system)]
    there = {row["tour_id"] for row in await _ask(system, "SELECT tour_id FROM resource.tours")}
    wrong += [f"tour {tour} should be {'there' if wanted else 'gone'}" for tour, wanted in load.tours.items()
              if (tour in there) is not wanted]  # fmt: skip
    return wrong


async def _tokens(clients: Clients, load: Load) -> list[str]:
    """What was revoked is refused by the API, and what was not is accepted."""
    wrong = []
    for tokens, expected in ((load.revoked, _UNAUTHORIZED), (load.good, _OK)):
        for token in tokens[-25:]:

            async def so(token: str = token, expected: int = expected) -> bool:
                return (await clients.call("GET", "/tours", token, new_id())).status_code == expected

            if not await until(so, _CAUGHT_UP_SECONDS):
                wrong.append(f"a {'good' if expected == _OK else 'revoked'} token is not answered {expected}")
    return wrong
