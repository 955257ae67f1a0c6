"""P12: how long `make run` takes until everything can be used."""

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path
from time import monotonic

import httpx
from rich.console import Console

from infra.local.ports import Ports
from infra.local.process import until
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result, Target
from tests.benchmarks.rounds import Spread
from tests.support.ports import free_ports
from tests.support.system import new_folder

_ROOT = Path(__file__).resolve().parent.parent.parent
_READY_SECONDS = 90.0
_STOP_SECONDS = 30.0


async def starting(options: Options, console: Console) -> list[Result]:
    """P12: in an empty folder, and in one with data."""
    console.print("  P12: make run")
    first, again = [], []
    for _ in range(options.rounds):
        folder, ports = new_folder(), free_ports()
        try:
            first.append(await _run(folder, ports))
            again.append(await _run(folder, ports))
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    target = Target("<", 15)
    return [
        Result.of(
            "P12",
            "make run, dependencies present: the first, until BackstageHub answers",
            "s",
            Spread.of(first),
            target=target,
        ),
        Result.of("P12", "the same, finding its data again", "s", Spread.of(again), target=target),
    ]


async def _run(folder: Path, ports: Ports) -> float:
    """Seconds from the command to a system that answers; it is stopped again."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment = {**inherited, "STAGEDOOR_HOME": str(folder), "STAGEDOOR_PORT_BASE": str(ports.base)}
    began = monotonic()
    with (folder / "make.log").open("ab") as output:
        process = subprocess.Popen(  # noqa: ASYNC220  (looked at by polling)
            ["make", "run"],  # noqa: S607  (the command as a person types it)
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:

            async def answering() -> bool:
                return process.poll() is not None or await _answers(client, ports)

            if not await until(answering, _READY_SECONDS, every=0.05) or process.poll() is not None:
                raise RuntimeError(f"make run does not come up: {(folder / 'make.log').read_text()[-500:]}")
        return monotonic() - began
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            await asyncio.to_thread(process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def _answers(client: httpx.AsyncClient, ports: Ports) -> bool:
    try:
        door = await client.get(f"{ports.origin}/readyz")
        return door.is_success and (await client.get(f"http://localhost:{ports.backstagehub}/")).is_success
    except httpx.HTTPError:
        return False
