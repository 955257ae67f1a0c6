"""Notes when the log says that it has grown, and when each denial comes over NATS: to whoever may hear them.

    python -m tests.benchmarks.overhearing

It is asked as `tests.benchmarks.child` says. Times are those of CLOCK_MONOTONIC.
"""

import json
from collections.abc import Mapping
from time import monotonic
from typing import Any

import asyncpg
import nats
import uvloop
from nats.aio.msg import Msg

from tests.benchmarks.child import answers, questions


async def _unheard(_: Exception) -> None:
    """NATS is stopped in the middle."""


async def main() -> None:
    """Listen until the input ends."""
    reader = await questions()
    settings = json.loads(await reader.readline())
    grown: list[float] = []
    heard: dict[int, float] = {}

    async def hear(message: Msg) -> None:
        at = monotonic()
        heard.setdefault(json.loads(message.data)["position"], at)

    async def answer(_: Mapping[str, Any]) -> Mapping[str, Any]:
        said = {"grown": list(grown), "heard": dict(heard)}
        grown.clear()
        heard.clear()
        return said

    log = await asyncpg.connect(settings["database"], password=settings["password"])
    await log.add_listener("stagedoor", lambda *_: grown.append(monotonic()))
    client = await nats.connect(
        settings["nats"],
        inbox_prefix=b"_INBOX_resource_server",
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        error_cb=_unheard,
    )
    await client.subscribe("stagedoor.denials.>", cb=hear)
    await client.flush()
    await answers(reader, answer)


if __name__ == "__main__":
    uvloop.run(main())
