"""P8 and P14: how fast a whole log is verified, replayed and rebuilt from, and what checkpoints cost who appends."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time

import psutil
from rich.console import Console

from infra.local import services
from infra.local.certificates import Authority
from infra.local.ports import LOOPBACK
from infra.local.process import Process, until
from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli.connection import Connection
from services.cli.evidence import verified
from services.cli.profile import Profile
from services.token_issuer import events as token_issuer
from services.token_issuer.projections import PROJECTIONS
from shared.evidence.checkpoints import Branch
from shared.ids import new_ordered_id
from shared.log.append import Append
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.rebuild.rebuilding import rebuild
from tests.benchmarks.ledger_process import SIGNER, TOKEN
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result, Target
from tests.benchmarks.rounds import Spread
from tests.benchmarks.stage import IssuerAlone, context_of_issue, issued
from tests.support.ports import free_port

_LOOK_SECONDS = 0.1
_FLAT = 40.0
"""Megabytes."""
_CALLERS = 64
_CAUGHT_UP_SECONDS = 300.0
_FAR_AWAY = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Kept:
    """A log of which a ledger in another process keeps evidence."""

    stage: IssuerAlone
    process: Process
    folder: Path
    address: str
    log: Log
    """As the token issuer."""

    def profile(self) -> Profile:
        """How an auditor gets at it."""
        authority = Authority(self.stage.home.certificates)
        shown = authority.operator()
        return Profile(
            issuer="http://127.0.0.1/id",
            origin="http://127.0.0.1",
            ca_file=authority.certificate,
            certificate_file=shown.certificate,
            key_file=shown.key,
            grpc={"ledger": self.address},
            access_token=TOKEN,
            expires_at=_FAR_AWAY,
        )

    async def caught_up(self) -> None:
        """Wait until the last checkpoint is of the head."""
        branch = Branch(self.folder, 1, SIGNER)

        async def reached() -> bool:
            found = branch.last()
            return found is not None and found[1].size == (await self.log.head()).position

        if not await until(reached, _CAUGHT_UP_SECONDS):
            raise RuntimeError(f"the ledger does not follow: {self.process.last_words()}")


async def verifying(options: Options, console: Console) -> list[Result]:
    """P8: from the database over gRPC to a verified root, as `stagedoor audit verify` does it; replay, and rebuild."""
    events = options.log_size
    console.print(f"  P8: filling a log with {events:,} events")
    verifying, replaying, rebuilding, busy = [], [], [], []
    auditors, ledgers = Memory(), Memory()
    async with _kept(events) as kept:
        await kept.caught_up()
        for _ in range(options.rounds):
            async with (
                Connection(kept.folder / "no-profile.toml", kept.profile()) as auditor,
                auditors.of(os.getpid()),
                ledgers.of(kept.process.pid),
            ):
                began, used = monotonic(), process_time()
                last, verification = await verified(auditor, str(SIGNER.key(1)), ())
                seconds, used = monotonic() - began, process_time() - used
            verification.finish()
            verifying.append(last.size / seconds)
            busy.append(1e6 * used / last.size)
            replaying.append(await _replay(kept))
            rebuilding.append(await _rebuild(kept))
    what = f"a log of {events:,} events"
    return [
        Result.of("P8", f"verifying {what}", "events/s", Spread.of(verifying), target=Target(">=", 120_000)),
        Result.of("P8", f"verifying {what}: processor time of whoever verifies", "µs", Spread.of(busy)),
        auditors.result(f"verifying {what}: memory of whoever verifies, more in its second half"),
        ledgers.result(f"verifying {what}: memory of the ledger, more in its second half"),
        Result.of("P8", f"replaying {what}", "events/s", Spread.of(replaying), target=Target(">=", 150_000)),
        Result.of("P8", f"rebuilding from {what}", "events/s", Spread.of(rebuilding), target=Target(">=", 50_000)),
    ]


async def _replay(kept: Kept) -> float:
    """Events a second of `stagedoor audit replay`, without what it prints."""
    count, began = 0, monotonic()
    async with Connection(kept.folder / "no-profile.toml", kept.profile()) as auditor:
        async for answer in auditor.stream(auditor.ledger.Read, pb.ReadRequest()):
            count += len(answer.events.events)
    return count / (monotonic() - began)


async def _rebuild(kept: Kept) -> float:
    """Events a second of a rebuild of the issuer's own tables; tokens by client credentials make no rows in them."""
    own = next(one for one in PROJECTIONS if one.name == "own")
    began = monotonic()
    position = 0
    async for told in rebuild(kept.log, own):
        position = told.position
    return position / (monotonic() - began)


class Memory:
    """How much more a process takes in the second half of a round than in the first: flat, but for what it remembers.

    The ledger remembers tiles, of 32 MB at the most.
    """

    def __init__(self) -> None:
        self._halves: tuple[list[float], list[float]] = ([], [])

    @asynccontextmanager
    async def of(self, pid: int) -> AsyncIterator[None]:
        """One round."""
        sizes: list[float] = []

        async def look() -> None:
            while True:
                sizes.append(_megabytes(pid))
                await asyncio.sleep(_LOOK_SECONDS)

        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()
        sizes.append(_megabytes(pid))
        middle = len(sizes) // 2
        self._halves[0].append(max(sizes[: middle + 1]))
        self._halves[1].append(max(sizes[middle:]))

    def result(self, what: str) -> Result:
        """Of all rounds."""
        more = [second - first for first, second in zip(*self._halves, strict=True)]
        return Result.of("P8", what, "MB", Spread.of(more), target=Target("<", _FLAT))


def _megabytes(pid: int) -> float:
    """Resident, of a process; of one that we started also of its children: it only holds the leash of the real one."""
    process = psutil.Process(pid)
    children = [] if pid == os.getpid() else process.children(recursive=True)
    found: float = sum(one.memory_info().rss for one in (process, *children)) / 1e6
    return found


async def checkpoints(options: Options, console: Console) -> list[Result]:
    """P14: appending while a ledger keeps evidence, and while it is stopped; the ledger catches up in between."""
    console.print("  P14: appending with and without checkpoints")
    found: tuple[list[float], list[float]] = ([], [])
    async with _kept(1_000) as kept:
        for _ in range(options.rounds + 1):
            for keeping, rates in zip((True, False), found, strict=True):
                await kept.caught_up()
                if not keeping:
                    kept.process.pause()
                rates.append(await _append(kept.log, options.seconds))
                kept.process.resume()
    kept_on, off = found[0][1:], found[1][1:]
    return [
        Result.of(
            "P14",
            f"appending, {_CALLERS} callers, with checkpoints beside without",
            "events/s",
            Spread.of(kept_on),
            baseline=Spread.of(off),
            ratio=Spread.ratio(kept_on, off),
            target=Target(">=", 0.95, "ratio"),
        )
    ]


@asynccontextmanager
async def _kept(events: int) -> AsyncIterator[Kept]:
    async with IssuerAlone() as stage:
        await stage.log_with("evidence", events)
        passwords = {
            name: services.database_password(stage.home, name).read_text().strip()
            for name in ("ledger", "token_issuer")
        }
        folder, address = stage.folder / "ledger", f"{LOOPBACK}:{free_port()}"
        authority = Authority(stage.home.certificates)
        authority.service("ledger")
        command = [sys.executable, "-P", "-m", "tests.benchmarks.ledger_process"]
        command += [stage.postgres.dsn("ledger", "evidence"), str(folder), address, str(stage.home.certificates)]
        environment = {**services.python_environment(), "PGPASSWORD": passwords["ledger"]}
        process = Process("ledger", command, environment, stage.folder / "ledger.log")
        catalogue = Catalogue.of(token_issuer)
        log = await Log.open(stage.postgres.dsn("token_issuer", "evidence"), passwords["token_issuer"], catalogue)
        await process.start()
        try:
            yield Kept(stage, process, folder, address, log)
        finally:
            await log.close()
            await process.stop()


async def _append(log: Log, seconds: float) -> float:
    """Events a second."""
    end = monotonic() + seconds
    count = 0

    async def append() -> None:
        nonlocal count
        while monotonic() < end:
            jti = new_ordered_id()
            await log.append(Append(f"token-{jti}", None, (issued(jti),), context_of_issue()))
            count += 1

    began = monotonic()
    await asyncio.gather(*(append() for _ in range(_CALLERS)))
    return count / (monotonic() - began)
