"""A steady load of tokens by client credentials, from a process of its own.

    python -m tests.benchmarks.pouring

It is asked as `tests.benchmarks.child` says, and answers what it did since it was asked last.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import uvloop

from tests.benchmarks.child import answers, questions
from tests.benchmarks.load import Load
from tests.benchmarks.rounds import percentile
from tests.benchmarks.stage import token_request

_CONNECTIONS = 8
_SECONDS = 2.0
"""Of one piece of the load."""


async def main() -> None:
    """Ask for tokens until the input ends."""
    reader = await questions()
    settings = json.loads(await reader.readline())
    request = token_request(settings["port"], settings["client_id"], settings["secret"])
    load = Load(settings["port"], request, _CONNECTIONS, interval=_CONNECTIONS / settings["rate"])
    took: list[float] = []
    errors = 0

    async def pour() -> None:
        nonlocal errors
        while True:
            found = await load.run(_SECONDS, warm_up=0.0)
            took.extend(found.latencies)
            errors += found.errors

    async def answer(_: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal errors
        said = {
            "tokens": len(took),
            "p99": percentile(took, 99) * 1000 if took else None,
            "errors": errors,
        }
        took.clear()
        errors = 0
        return said

    pouring = asyncio.create_task(pour())
    await answers(reader, answer)
    pouring.cancel()


if __name__ == "__main__":
    uvloop.run(main())
