"""A rebuild of the office's tables in a process of its own, which stops for good at a step, so that it can be killed.

python -m tests.support.rebuild_process <connection string of the office> <step: begun, fed, gate or swapped>
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from shared.log.log import Log
from shared.rebuild import rebuilding
from shared.rebuild.shadow import Shadow, held_gate
from tests.support.postgres import password
from tests.support.theatre import OFFICE, TICKETS

THERE = "there"


def _stop(*_: object) -> Any:
    print(THERE, flush=True)
    while True:
        signal.pause()  # the whole process stands still, as if it had been stopped


@asynccontextmanager
async def _stopping_before_the_commit(log: Log) -> AsyncIterator[asyncpg.Connection]:
    async with held_gate(log) as gate:
        yield gate
        _stop()


async def main(dsn: str, step: str) -> None:
    """Rebuild up to the step."""
    match step:
        case "begun":
            Shadow.step = _stop  # type: ignore[method-assign, assignment]  # whoever comes here stops
        case "fed":
            Shadow.analyze = _stop  # type: ignore[method-assign, assignment]  # as above
        case "gate":
            Shadow.rest = _stop  # type: ignore[method-assign, assignment]  # as above
        case "swapped":
            rebuilding.held_gate = _stopping_before_the_commit  # type: ignore[attr-defined]  # it is imported there
    log = await Log.open(dsn, password("office"), OFFICE)
    async for _ in rebuilding.rebuild(log, TICKETS):
        pass
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
