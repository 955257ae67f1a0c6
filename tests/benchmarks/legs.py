"""The way of a denial, leg by leg: appended, told of by the log, published, applied."""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Protocol, Self

import asyncpg

_RECORDED = "SELECT position, recorded_at FROM log.events WHERE position = ANY($1::bigint[])"


class Taken(Protocol):
    """A token that was taken back."""

    acknowledged: float
    position: int
    refused: dict[int, float]


class Legs:
    """Knows when events were recorded, by the database's clock, which is the machine's."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, database: str, password: str) -> AsyncIterator[Self]:
        """Over a connection of its own."""
        connection = await asyncpg.connect(database, password=password)
        try:
            yield cls(connection)
        finally:
            await connection.close()

    async def of(self, taken: Sequence[Taken], heard: Mapping[str, Any], guards: int) -> dict[str, list[float]]:
        """Milliseconds of each leg, for all whose way is known.

        `heard` is what `tests.benchmarks.overhearing` noted. An event is recorded under the gate, so the next time that
        the log says it has grown is at the latest when it says so of this event.
        """
        positions = [one.position for one in taken if one.position]
        rows = await self._connection.fetch(_RECORDED, positions)
        offset = monotonic() - time.time()
        recorded = {row["position"]: row["recorded_at"].timestamp() + offset for row in rows}
        grown: list[float] = heard["grown"]
        found: dict[str, list[float]] = defaultdict(list)
        for one in taken:
            wire, at = heard["heard"].get(str(one.position)), recorded.get(one.position)
            if wire is None or at is None:
                continue
            place = bisect_left(grown, at)
            found["recorded until acknowledged"].append((one.acknowledged - at) * 1000)
            if place < len(grown):
                found["recorded until the log says that it has grown"].append((grown[place] - at) * 1000)
                found["from then until the denial comes over NATS"].append(max(0.0, wire - grown[place]) * 1000)
            slowest = max((moment for guard, moment in one.refused.items() if guard < guards), default=wire)
            found["from then until the slowest guard refuses"].append(max(0.0, slowest - wire) * 1000)
        return dict(found)
