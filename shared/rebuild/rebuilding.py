"""Makes the tables of a projection again from the log, and puts them in the place of the live ones.

Nobody is kept from reading or writing but for the moment of the swap, which happens under the gate: then the new
tables have every fact that there is, and the next append already writes to them.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.errors import Unavailable
from shared.log.append import LogUnavailable
from shared.log.log import Log
from shared.rebuild.projection import Projection
from shared.rebuild.shadow import NOT_NOW, Shadow, held_gate, refusing
from shared.telemetry import logger

_log = logger(__name__)

_TELL_EVERY = 10
"""Steps."""
_SWAPS = 40
"""How often it is tried: somebody who reads a table for longer than a moment is not waited for with the gate held."""
_PAUSE_SECONDS = 0.25


class TablesInUse(Unavailable):
    """Somebody reads the tables without a pause, a back-up for one."""

    def __init__(self) -> None:
        super().__init__("tables_in_use", "the tables are being read without a pause (by a back-up?); try again later")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come."""

    projection: str
    position: int
    """Of the last fact that was taken in."""
    head: int
    """Of the log, when that was looked at last."""
    live: bool = False
    """The new tables are the live ones; this is the last that is told."""


async def rebuild(log: Log, projection: Projection) -> AsyncIterator[Progress]:
    """Rebuild, and tell now and then how far it is. Whatever ends it earlier leaves the live tables as they were.

    Raises `EventNotProjected`, `RebuildOvertaken`, `TablesInUse` or `LogUnavailable`.
    """
    async with Shadow.of(log, projection, "next") as shadow:
        async for progress in feed(log, projection, shadow):
            yield progress
        await shadow.analyze()
        await _swap(log, projection, shadow)
        _log.info(
            "read_model_rebuilt", projection=projection.name, position=shadow.position, version=projection.version
        )
        yield Progress(projection.name, shadow.position, (await log.head()).position, live=True)


async def feed(log: Log, projection: Projection, shadow: Shadow) -> AsyncIterator[Progress]:
    """Take in all that is there, and tell now and then how far it is."""
    steps = 0
    more = True
    while more:
        if steps % _TELL_EVERY == 0:
            yield Progress(projection.name, shadow.position, (await log.head()).position)
        more = await shadow.step()
        steps += 1


async def _swap(log: Log, projection: Projection, shadow: Shadow) -> None:
    """Hold the gate, take in what came since, and swap."""
    for _attempt in range(_SWAPS):
        await shadow.complete()
        try:
            with refusing():
                async with held_gate(log) as gate:
                    flipped = await shadow.rest() and await gate.fetchval(
                        "SELECT log.flip($1, $2, $3)", projection.name, shadow.run, projection.version
                    )
            if flipped:
                return
        except LogUnavailable as failure:
            if not isinstance(failure.__cause__, NOT_NOW):
                raise
        await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311  (lets others have their turn)
    raise TablesInUse


async def versions(log: Log) -> dict[str, int]:
    """By which version of each projection the live rows were made."""
    with refusing():
        rows = await log.pool.fetch("SELECT projection, version FROM log.read_model_versions()")
    return {row["projection"]: row["version"] for row in rows}
