"""The system that a fault run is played against: three NATS servers, a wire that can be slow, disks that can be full.

It is the local system with more parts. Services reach each server of NATS through a `Wire`, so that what they say to
it can be held up; the servers know each other directly. Where this process may mount file systems, the data of
PostgreSQL and of each NATS server are on small ones of their own.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from infra.local import nats
from infra.local.ports import LOOPBACK
from infra.local.postgres import Postgres
from infra.local.system import System
from infra.local.tending import Part
from tests.chaos.disks import Disk, may_mount
from tests.chaos.standby import Standby
from tests.chaos.wire import Wire
from tests.support.back_up import RESTORABLE
from tests.support.ports import free_ports

NODES = ("nats", "nats-2", "nats-3")
_ROUTES, _WIRES = 32, 52
"""Ports of the servers among themselves and of the wires to them, above the base."""
_POSTGRES = ("max_wal_size=96MB", "min_wal_size=32MB", *RESTORABLE)
_POSTGRES_MEBIBYTES, _NATS_MEBIBYTES = 768, 128

SETTINGS = {"STAGEDOOR_REFRESH_GRACE_SECONDS": "60", "STAGEDOOR_NATS_REPLICAS": str(len(NODES))}
"""The load tries a refresh again for as long as a restart may take."""


class ChaosSystem(System):
    """A system to be broken."""

    def __init__(self, folder: Path, *, large: bool) -> None:
        """`large`: with disks of their own, where that can be done, and a synchronous standby."""
        ports = free_ports()
        self.wires = [Wire(ports.base + _WIRES + place, ports.nats + place) for place in range(len(NODES))]
        url = ",".join(f"nats://{LOOPBACK}:{wire.port}" for wire in self.wires)
        settings = {**SETTINGS, "STAGEDOOR_NATS_URL": url}
        super().__init__(folder, ports=ports, durable=False, settings=settings, console=False)
        self.postgres = Postgres(self.home.path / "postgres", fsync=False, settings=_POSTGRES)
        self.standby: Standby | None = None
        self.disks: dict[str, Disk] = {}
        if large:
            self.standby = Standby(self.postgres, self.home.path / "standby")
        if large and may_mount():
            self.disks = {name: Disk(self.home.path / name, _NATS_MEBIBYTES) for name in NODES}
            self.disks["postgres"] = Disk(self.home.path / "postgres", _POSTGRES_MEBIBYTES)

    async def start(self) -> None:
        """Start everything, wires and disks first."""
        self.home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for disk in self.disks.values():
            disk.mount()
        for wire in self.wires:
            await wire.open()
        await super().start()
        if self.standby is not None:
            await self._run(self.standby)
            await self.standby.be_waited_for()

    async def stop(self) -> None:
        """Stop everything, and let go of wires and disks."""
        others = [self._parts[name] for name in NODES[1:] if name in self._parts]
        self.tending.leave(others)
        try:
            await super().stop()
            if self.standby is not None:
                await self.standby.stop()
            await asyncio.gather(*(part.stop() for part in others))
        finally:
            for wire in self.wires:
                await wire.close()
            for disk in self.disks.values():
                disk.unmount()

    def _nats(self) -> Sequence[Part]:
        base, first = self.ports.base, self.ports.nats
        routes = ", ".join(f'"nats://{LOOPBACK}:{base + _ROUTES + place}"' for place in range(len(NODES)))

        def told(place: int) -> str:
            listen = f'listen: "{LOOPBACK}:{base + _ROUTES + place}"'
            return f'cluster {{ name: "stagedoor", {listen}, routes: [{routes}], no_advertise: true }}'

        return [
            nats.process(self.home, self.ports, name, first + place, [told(place)]) for place, name in enumerate(NODES)
        ]
