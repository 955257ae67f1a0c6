"""Faults, one after the other, in an order that the seed decides: each of them at least once."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

import asyncpg

from infra.local.ports import LOOPBACK, SERVICES
from shared.messaging.access import STREAM, NatsAccess
from shared.messaging.session import FAILURES
from tests.chaos.echoes import echo
from tests.chaos.standby import Standby
from tests.chaos.system import NODES, ChaosSystem

ANSWER_SECONDS = 90.0
"""Within so long after a fault the whole system has to be ready again, by itself."""
_BACKENDS = """
    SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = ANY ($1) ORDER BY pid
"""
_SEGMENTS = 40
"""More than there are of PostgreSQL's log that were made ahead."""

Fault = Callable[[], Awaitable[None]]


class Faults:
    """What is done to a system."""

    def __init__(
        self,
        system: ChaosSystem,
        seed: int,
        *,
        replicas: Sequence[str],
        few: bool,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`replicas` are further processes of services; `few` leaves out what takes long or needs a root's rights."""
        self._system = system
        self._say = say
        self._dice = random.Random(f"{seed} faults")
        self._replicas = replicas
        self._few = few
        self.done: list[str] = []
        self.left_out: list[str] = []
        """Faults that cannot be done here, and why."""
        self.down: set[str] = set()
        """Parts that a fault has ended, or that may end by what it does."""
        self.effects: Counter[str] = Counter()
        """What the faults have brought about, where that is not seen by itself."""
        self.slowest = 0.0
        """The longest that the system took to be ready again, in seconds."""

    def _all(self) -> dict[str, Fault]:
        one = self._dice.choice
        faults: dict[str, Fault] = {
            **{f"kill {name}": partial(self._kill, name) for name in (*SERVICES, "postgres")},
            "kill a NATS server of three": lambda: self._kill(one(NODES)),
            "pause token_issuer": lambda: self._pause("token_issuer"),
            "pause ledger": lambda: self._pause("ledger"),
            "kill a back-end": self._kill_backend,
            "end connections": self._end_connections,
            "delete the stream": self._delete_stream,
            "repeat messages in disorder": self._echo,
        }
        if self._few:
            return faults
        faults |= {f"pause {name}": partial(self._pause, name) for name in (*SERVICES, "postgres", *self._replicas)}
        faults |= {f"kill {name}": partial(self._kill, name) for name in self._replicas}
        faults |= {
            "kill all NATS servers": lambda: self._kill(*NODES),
            "pause a NATS server of three": lambda: self._pause(one(NODES)),
            "pause all NATS servers": lambda: self._pause(*NODES),
            "hold up messages": self._hold_up,
            "cut the wire to NATS": self._cut,
        }
        if self._system.standby is not None:
            faults |= {
                "kill the synchronous standby": partial(self._lose_standby, self._system.standby),
                "pause the synchronous standby": partial(self._pause, "standby"),
            }
        if self._system.disks:
            return faults | {
                "fill the disk of a NATS server": lambda: self._fill_nats(one(NODES)),
                "fill the disks of all NATS servers": lambda: self._fill_nats(*NODES),
                "fill the disk of postgres": self._fill_postgres,
            }
        self.left_out.append("full disks: file systems cannot be mounted here")
        return faults

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

    async def _do(self, name: str, fault: Fault) -> None:
        await asyncio.sleep(self._dice.uniform(0.1, 0.6))
        began = time.monotonic()
        self._say(name)
        try:
            await fault()
        finally:
            self.down.clear()
        self.done.append(name)
        if self._dice.random() < 0.7:  # otherwise the next one comes on top
            await self._system.ready(ANSWER_SECONDS)
            self.slowest = max(self.slowest, time.monotonic() - began)

    # Processes

    async def _kill(self, *names: str) -> None:
        self.down |= set(names)
        await asyncio.gather(*(self._system.kill(name) for name in names))
        await asyncio.sleep(self._dice.uniform(0.0, 0.4))
        for name in names:
            await self._system.start_part(name)

    async def _pause(self, *names: str) -> None:
        """Held in the middle of whatever they do, for longer than a leader may be silent."""
        seconds = self._dice.uniform(0.5, 4.0)
        try:
            for name in names:
                self._system.pause(name)
            await asyncio.sleep(seconds)
        finally:
            for name in names:
                self._system.resume(name)

    # PostgreSQL

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

    async def _fill_postgres(self) -> None:
        """Until nothing can be written any more: then PostgreSQL ends, and does not start before there is room."""
        self.down.add("postgres")
        disk = self._system.disks["postgres"]
        disk.fill()
        try:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                for _ in range(_SEGMENTS):
                    await self._ask("SELECT pg_logical_emit_message(true, 'full', 'x'), pg_switch_wal()")
            await asyncio.sleep(self._dice.uniform(1.0, 3.0))
            self.effects["full disks that nobody could write to"] += not await self._can_write()
        finally:
            disk.empty()
        await self._system.stop_part("postgres")
        await self._system.start_part("postgres")

    async def _lose_standby(self, standby: Standby) -> None:
        """Nothing is acknowledged before it is back."""
        await self._system.kill("standby")
        await asyncio.sleep(self._dice.uniform(1.0, 3.0))
        with suppress(asyncpg.PostgresError, OSError):
            self.effects["commits seen waiting for the standby"] += await standby.waiting()
        await self._system.start_part("standby")

    # NATS

    async def _fill_nats(self, *names: str) -> None:
        """A server whose disk is full stores nothing more, and has to be started again when there is room."""
        for name in names:
            self._system.disks[name].fill()
        await asyncio.sleep(self._dice.uniform(2.0, 4.0))
        self.effects["full disks of NATS"] += len(names)
        for name in names:
            self._system.disks[name].empty()
        await self._kill(*names)

    async def _hold_up(self) -> None:
        """All that services say to NATS and hear from it comes late, by a different time for each server."""
        try:
            for wire in self._system.wires:
                wire.hold_up(self._dice.uniform(0.05, 1.0))
            await asyncio.sleep(self._dice.uniform(2.0, 5.0))
        finally:
            for wire in self._system.wires:
                wire.hold_up(0.0)

    async def _cut(self) -> None:
        for wire in self._system.wires:
            wire.cut()

    async def _echo(self) -> None:
        with suppress(*FAILURES):  # NATS may be gone at the moment
            sent = await echo(self._system, self._dice, self._dice.uniform(1.0, 3.0))
            self.effects["messages sent again"] += sent

    async def _delete_stream(self) -> None:
        # The ledger's password is in a file of the system, as the ledger's own process finds it.
        async def closed() -> None:
            """Nothing is left to do."""

        password = (self._system.home.path / "secrets" / "ledger.nats").read_text().strip()
        access = NatsAccess(f"nats://{LOOPBACK}:{self._system.ports.nats}", "ledger", password)
        with suppress(Exception):  # it may be gone already, and so may NATS
            client = await access.connect(closed)
            with suppress(Exception):
                await client.jetstream().delete_stream(STREAM)
            await client.close()

    async def _can_write(self) -> bool:
        try:
            await self._ask("SELECT pg_logical_emit_message(true, 'full', repeat('x', 10000))")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False
        return True

    async def _ask(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        postgres = self._system.postgres
        connection = await asyncpg.connect(postgres.dsn(), password=postgres.password, timeout=5)
        try:
            return list(await connection.fetch(statement, *arguments, timeout=10))
        finally:
            await connection.close(timeout=5)
