"""Sign-ins as load: sessions that begin, appended as the identity service appends them, from this process."""

import asyncio
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter

import asyncpg

from infra.local import services
from infra.local.system import System
from services.identity import events as identity
from services.identity.read_model import project
from shared.handle import pending
from shared.ids import digest, new_command_id, new_id
from shared.log.append import Append, Context
from shared.log.event import Catalogue
from shared.log.log import Log
from tests.benchmarks.stage import postgres_of

_SAMPLED = 25
"""Of so many sessions, one is looked up at once."""
_SAME = """
SELECT s.xmin = e.xmin FROM identity.sessions s JOIN log.events e ON e.position = $2 WHERE s.sid = $1
"""


@dataclass(slots=True)
class Round:
    """What one round has shown."""

    acknowledged: list[tuple[int, float]] = field(default_factory=list)
    """Position, and when its append was answered."""
    took: list[float] = field(default_factory=list)
    """Seconds from the append to its answer."""
    same: list[bool] = field(default_factory=list)
    """Whether the row of the service's own table was there at the answer, written by the same transaction."""
    errors: int = 0
    looks: list[tuple[int, float]] = field(default_factory=list)
    """How far the other service's view was, and when."""

    def lags(self) -> list[float]:
        """Milliseconds from the answer until the view of the other service had the event."""
        positions = [position for position, _ in self.looks]
        found = []
        for position, at in self.acknowledged:
            place = bisect_left(positions, position)
            if place == len(positions):
                self.errors += 1
                continue
            found.append(max(0.0, self.looks[place][1] - at) * 1000)
        return found


class SignIns:
    """Sessions that begin, appended as the identity service appends them."""

    def __init__(self, log: Log, sub: str, eyes: asyncpg.Connection) -> None:
        self._log = log
        self._sub = sub
        self._eyes = eyes
        self._looking = asyncio.Lock()

    async def run(self, rate: float, seconds: float) -> Round:
        """So many a second, whether or not the ones before were answered."""
        found = Round()
        loop, tasks = asyncio.get_running_loop(), []
        began = loop.time()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            tasks.append(loop.create_task(self._one(found, number)))
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            found.errors += isinstance(outcome, BaseException)
        return found

    async def _one(self, found: Round, number: int) -> None:
        sid, now = new_id(), datetime.now(UTC)
        event = identity.SessionStarted(
            sub=self._sub,
            sid=sid,
            secret_digest=digest(sid),
            auth_time=now,
            amr=("pwd",),
            expires_at=now + timedelta(hours=1),
        )
        context = Context(f"user:{self._sub}", new_id(), new_command_id())
        stream = f"session-{sid}"
        rows = tuple(project(pending(event, stream, 1, context)))
        began = perf_counter()
        appended = await self._log.append(Append(stream, 0, (event,), context, rows=rows, personal_key=b"p" * 32))
        found.acknowledged.append((appended.position, perf_counter()))
        found.took.append(perf_counter() - began)
        if number % _SAMPLED == 0:
            async with self._looking:
                found.same.append(bool(await self._eyes.fetchval(_SAME, sid, appended.position)))


async def identity_log(system: System) -> Log:
    """The log as the identity service has it."""
    password = services.database_password(system.home, "identity").read_text().strip()
    return await Log.open(postgres_of(system).dsn("identity"), password, Catalogue.of(identity))


def somebody(system: System) -> str:
    """The `sub` of a person of the demo."""
    return str(next(user["sub"] for user in system.demo["users"] if user["name"] == "freddie"))
