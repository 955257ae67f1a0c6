"""A log of events as large as they may be: whoever reads all of it costs the ledger no more memory than a few pages."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from infra.local import services
from infra.local.process import Process, until
from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli.connection import Connection
from services.registry import events as registry
from shared.evidence.checkpoints import Branch
from shared.log.group import MOST_EVENT_BYTES
from shared.log.pages import PAGE_BYTES
from tests.benchmarks.ledger_process import SIGNER
from tests.support.auditing import Auditor
from tests.support.facts import Facts
from tests.support.parties import Parties
from tests.support.ports import free_port
from tests.support.postgres import password

EVENTS = 600
"""Of 157 MB: two pages of 2,000 would have all of them at once."""
MOST_MORE = 8 * PAGE_BYTES
"""Bytes that the ledger may grow by: two pages, what is made of them, and what its allocator does not give back."""


def as_large_as_may_be(client_id: str) -> registry.ApplicationDisabled:
    empty = registry.ApplicationDisabled(client_id=client_id, reason="")
    return registry.ApplicationDisabled(client_id=client_id, reason="x" * (MOST_EVENT_BYTES - len(empty.to_json())))


async def write_large(facts: Facts, number: int) -> None:
    for count in range(number):
        client_id = f"app{count:04}"
        await facts.write(f"application-{client_id}", as_large_as_may_be(client_id))


class Grown:
    """How much a process, with its children, has grown at the most since it was looked at first."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._first = self._size()
        self.bytes = 0

    def look(self) -> None:
        self.bytes = max(self.bytes, self._size() - self._first)

    async def look_on(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.01)

    def _size(self) -> int:
        process = psutil.Process(self._pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))


@asynccontextmanager
async def ledger_process(facts: Facts, parties: Parties, folder: Path, address: str) -> AsyncIterator[Process]:
    """A ledger in a process of its own, which has made a checkpoint of all that there is."""
    parties.authority.service("ledger")
    command = [sys.executable, "-P", "-m", "tests.benchmarks.ledger_process", facts.database.dsn("ledger")]
    command += [str(folder / "ledger"), address, str(parties.authority.certificate.parent)]
    environment = {**services.python_environment(), "PGPASSWORD": password("ledger")}
    process = Process("ledger", command, environment, folder / "ledger.log")
    head = (await (await facts.log("ledger")).head()).position

    async def has_signed() -> bool:
        last = Branch(folder / "ledger", 1, SIGNER).last()
        return last is not None and last[1].size >= head

    await process.start()
    try:
        assert await until(has_signed, 60), process.last_words()
        yield process
    finally:
        await process.stop()


async def test_a_log_of_the_largest_events_is_replayed_and_verified_in_little_memory(
    facts: Facts, parties: Parties, tmp_path: Path
) -> None:
    await write_large(facts, EVENTS)
    address = f"127.0.0.1:{free_port()}"
    auditor = Auditor(tmp_path, address, parties)
    async with ledger_process(facts, parties, tmp_path, address) as ledger:
        replaying, found = Grown(ledger.pid), []
        async with Connection(auditor.path) as connection:
            async for message in connection.stream(connection.ledger.Read, pb.ReadRequest()):
                found += [(event.position, len(event.data)) for event in message.events.events]
                replaying.look()
        assert found == [(position, MOST_EVENT_BYTES) for position in range(1, EVENTS + 1)]

        verifying = Grown(ledger.pid)
        looking = asyncio.create_task(verifying.look_on())
        verification, wrong = await auditor.verify()
        looking.cancel()
        assert wrong is None
        assert verification.compared > 0
    assert replaying.bytes < MOST_MORE, f"{replaying.bytes / 1e6:.0f} MB"
    assert verifying.bytes < MOST_MORE, f"{verifying.bytes / 1e6:.0f} MB"
