"""Faults, one after the other, in an order that the seed decides: each of them at least once."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from infra.local.ports import SERVICES
from infra.local.system import System
from shared.messaging.access import STREAM, NatsAccess

ANSWER_SECONDS = 60.0
"""Within so long after a fault the whole system has to be ready again, by itself."""
_BACKENDS = """
    SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = ANY ($1) ORDER BY pid
"""


class Faults:
    """What is done to a system."""

    def __init__(self, system: System, seed: int) -> None:
        self._system = system
        self._dice = random.Random(f"{seed} faults")
        self.done: list[str] = []
        self.slowest = 0.0
        """The longest that the system took to be ready again, in seconds."""

    def _all(self) -> dict[str, Callable[[], Awaitable[None]]]:
        kills = {f"kill {name}": lambda name=name: self._kill(name) for name in (*SERVICES, "postgres", "nats")}
        pauses = {f"pause {name}": lambda name=name: self._pause(name) for name in ("token_issuer", "ledger")}
        return {
            **kills,
            **pauses,
            "kill a back-end": self._kill_backend,
            "end connections": self._end_connections,
            "delete the stream": self._delete_stream,
        }

    async def run(self, seconds: float) -> None:
        """Every fault once, and again for as long as there is time."""
        until = time.monotonic() + seconds
        faults = self._all()
        while not self.done or time.monotonic() < until:
            order = sorted(faults)
            self._dice.shuffle(order)
            for name in order:
                if len(self.done) >= len(faults) and time.monotonic() >= until:
                    return
                await self._do(name, faults[name])

    async def _do(self, name: str, fault: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self._dice.uniform(0.1, 0.6))
        began = time.monotonic()
        await fault()
        self.done.append(name)
        if self._dice.random() < 0.7:  # otherwise the next one comes on top
            await self._system.ready(ANSWER_SECONDS)
            self.slowest = max(self.slowest, time.monotonic() - began)

    async def _kill(self, name: str) -> None:
        await self._system.kill(name)
        await asyncio.sleep(self._dice.uniform(0.0, 0.4))
        await self._system.start_part(name)

    async def _pause(self, name: str) -> None:
        """Held in the middle of whatever it does, for longer than a leader may be silent."""
        seconds = self._dice.uniform(0.5, 4.0)
        self._system.pause(name)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._system.resume(name)

    async def _kill_backend(self) -> None:
        """PostgreSQL ends all its back-ends when one is killed, and recovers."""
        with suppress(asyncpg.PostgresError, OSError):
            pids = [row["pid"] for row in await self._ask(_BACKENDS, SERVICES)]
            if pids:
                with suppress(ProcessLookupError):
                    os.kill(self._dice.choice(pids), signal.SIGKILL)

    async def _end_connections(self) -> None:
        with suppress(asyncpg.PostgresError, OSError):
            for row in await self._ask(_BACKENDS, SERVICES):
                if self._dice.random() < 0.5:
                    await self._ask("SELECT pg_terminate_backend($1)", row["pid"])

    async def _delete_stream(self) -> None:
        # The ledger's password is in a file of the system, as the ledger's own process finds it.
        async def closed() -> None:
            """Nothing is left to do."""

        password = (self._system.home.path / "secrets" / "ledger.nats").read_text().strip()
        access = NatsAccess(f"nats://127.0.0.1:{self._system.ports.nats}", "ledger", password)
        with suppress(Exception):  # it may be gone already, and so may NATS
            client = await access.connect(closed)
            with suppress(Exception):
                await client.jetstream().delete_stream(STREAM)
            await client.close()

    async def _ask(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        postgres = self._system.postgres
        connection = await asyncpg.connect(postgres.dsn(), password=postgres.password, timeout=5)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close(timeout=5)
