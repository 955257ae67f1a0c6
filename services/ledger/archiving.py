"""Archives expiring events that are old enough, and has the log let go of them.

A partition goes through these steps, in each of which everything may be killed; what was done is found again:

1. A checkpoint speaks of all of it. Its events are compared with the tree and written to a file, which gets its name
   when it is on the disk.
2. `PartitionArchived` says so in the log: from now on the file has to have this content and no other.
3. A checkpoint speaks of that event, too.
4. The file is read again, and checked as an auditor would.
5. The log drops the partition, after a look of its own (`log.prune`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg
from prometheus_client import Counter, Gauge

from services.ledger.events import PartitionArchived
from shared.errors import Refusal
from shared.evidence.archive import Draft, name_of, place_of
from shared.evidence.checkpoints import Branch, Signer
from shared.evidence.keeping import Evidence
from shared.evidence.stagedoor_verify import Archive, ArchiveFile, Key, Wrong
from shared.evidence.stored import stored
from shared.evidence.tiles import MissingTile, write_durably
from shared.http.operations import Check
from shared.ids import new_command_id, new_id
from shared.log.append import Append, Context, VersionConflict
from shared.log.event import Retention, Stamp
from shared.log.log import Log
from shared.questions import OUT_OF_REACH, ask
from shared.telemetry import logger

_log = logger(__name__)
_ARCHIVED = Counter("stagedoor_archive_events", "Expiring events that were written to archives.")
_PRUNED = Counter("stagedoor_archive_pruned_partitions", "Partitions that have left the log.")
_FAILURES = Counter("stagedoor_archive_failures", "Times that archiving failed.")
_OVERDUE = Gauge("stagedoor_archive_overdue_seconds", "For how long events are in the log that could have left it.")

_PAGE: Final = 2048
"""Positions of one statement, at the most."""
_CHECKPOINT_SECONDS: Final = 60.0
_CHECKPOINT_LOOK: Final = 0.2
_LOCK_TRIES: Final = 20
_LOCK_PAUSE: Final = 0.5
_PRUNE_SECONDS: Final = 300.0
"""The rows of a partition are counted before it goes."""
_TOLD_AFTER: Final = timedelta(days=1)
"""Overdue for so long, `/readyz` says so."""

Pause = Callable[[float], Awaitable[None]]


class NotYet(Exception):  # noqa: N818  (nothing is wrong)
    """Something has to happen before the next step; it is tried again on the timer."""


class Archiving:
    """The archives of one log."""

    def __init__(  # noqa: PLR0913, PLR0917  (each is one independent part)
        self, log: Log, evidence: Evidence, signer: Signer, folder: Path, retention: timedelta, every_seconds: float
    ) -> None:
        self._log = log
        self._evidence = evidence
        self._signer = signer
        self._folder = folder
        self._retention = retention
        self._every = every_seconds
        self._overdue = 0.0
        self._trouble = ""

    async def keep(self) -> None:
        """The leader's work, for ever, whatever happens."""
        try:
            await self._keep()
        finally:
            self._look(0.0)  # it is another's to tell

    async def _keep(self) -> None:
        while True:
            try:
                await self.take()
            except NotYet as reason:
                self._trouble = str(reason)
                _log.info("archiving_waits", why=str(reason))
            except (Wrong, MissingTile, Refusal, *OUT_OF_REACH, asyncpg.PostgresError) as failure:
                self._trouble = str(failure) or type(failure).__name__
                _FAILURES.inc()
                _log.error("archiving_failed", error=type(failure).__name__, what=self._trouble)
            await asyncio.sleep(self._every)

    async def take(self) -> None:
        """Archive and prune what is old enough.

        Raises `NotYet`; `Wrong` or `MissingTile` for what must not be archived; what the log or the disk says.
        """
        while due := await ask(self._log.pool.fetch("SELECT * FROM log.archivable($1)", self._retention)):
            self._look(max(one["seconds_overdue"] for one in due))
            await self._let_go(due[0]["first"], due[0]["last"])
        self._look(0.0)
        self._trouble = ""

    def readiness(self) -> Check:
        """A ledger that is late with this is still needed for everything else."""
        if self._overdue > _TOLD_AFTER.total_seconds():
            days = self._overdue / 86400
            return Check(ok=True, detail=f"BEHIND: events could have left the log {days:.0f} days ago: {self._trouble}")
        return Check(ok=True, detail=self._trouble or "nothing is due")

    def _look(self, overdue: float) -> None:
        self._overdue = overdue
        _OVERDUE.set(overdue)

    async def _let_go(self, first: int, last: int) -> None:
        """All steps for one partition, from wherever it stands."""
        record, archived = await self._recorded(first)
        if archived is None:
            archived = await self._archive(first, last)
            record = await self._say(archived)
        elif not await asyncio.to_thread(place_of(self._folder, archived).exists):
            await self._write_again(archived)
        await self._covered(record)
        await asyncio.to_thread(self._check, archived)
        await self._prune(first, record)

    async def _recorded(self, first: int) -> tuple[int, Archive | None]:
        """What the log says was archived, and where it says so."""
        for recorded in (await self._log.load(f"archive-{first}")).events:
            event = recorded.event
            if isinstance(event, PartitionArchived) and not isinstance(recorded.position, Stamp):
                return recorded.position, Archive.open(event.note, self._key(event.note))
        return 0, None

    def _key(self, note: str) -> Key:
        """Ours, under the name of the branch that was the log's when the note was signed."""
        number = note.split("\n", 2)[1].rpartition("/")[2]
        if not (number.isascii() and number.isdigit()):
            raise Wrong("this does not say what was archived")
        return self._signer.key(int(number))

    async def _archive(self, first: int, last: int) -> Archive:
        """The archive in the folder, after writing it if it is not there."""
        branch = await self._trunk(last)
        path = self._folder / str(branch.number) / name_of(first, last)
        if await asyncio.to_thread(path.exists):  # it was written, and the log does not know of it yet
            archive, _ = await asyncio.to_thread(ArchiveFile(path, branch.key).check)
        else:
            archive = await self._write(path, branch, first, last)
        if (archive.first, archive.last) != (first, last):
            raise Wrong(f"the archive {path} is of other positions", first)
        await asyncio.to_thread(self._state, path, archive, branch)
        return archive

    async def _write_again(self, archived: Archive) -> None:
        """The file is gone before the events were: it has to become what it was."""
        branch = await self._trunk(archived.last)
        await self._write(place_of(self._folder, archived), branch, archived.first, archived.last)

    async def _trunk(self, last: int) -> Branch:
        """The branch that the log is on, if its last checkpoint speaks of a position."""
        if alarm := self._evidence.alarm:
            raise Wrong(f"nothing is archived of a log that is not right: {alarm}")
        found = await asyncio.to_thread(self._evidence.current)
        if found is None or found[2].size < last:
            raise NotYet(f"no checkpoint speaks of position {last} yet")
        return found[0]

    async def _write(self, path: Path, branch: Branch, first: int, last: int) -> Archive:
        draft = await asyncio.to_thread(Draft, path, first, last)
        with draft:
            while draft.position <= last:
                began = monotonic()
                after = draft.position - 1
                until, rows = await stored(self._log, after, min(after + _PAGE, last), Retention.EXPIRING)
                tree = await asyncio.to_thread(branch.tiles.leaves, after, until)
                await asyncio.to_thread(draft.add, tree, rows)
                _ARCHIVED.inc(len(rows))
                await asyncio.sleep(monotonic() - began)  # the relay and those who ask have half of the time
            archive = await asyncio.to_thread(draft.finish, branch, self._signer)
        _log.info("archive_written", path=str(path), first=first, last=last)
        return archive

    def _state(self, path: Path, archive: Archive, branch: Branch) -> None:
        """What was archived, for whoever keeps the files: the signed note in a file beside it."""
        note = self._signer.sign(archive, branch.number)
        write_durably(path.with_name(f"{archive.first}-{archive.last}.note"), note.encode())

    async def _say(self, archive: Archive) -> int:
        """Append that it was archived; answers at which position that stands."""
        event = PartitionArchived(
            first=archive.first,
            last=archive.last,
            events=archive.events,
            content_digest=archive.content.hex(),
            note=self._signer.sign(archive, int(archive.name.rpartition("/")[2])),
        )
        context = Context("service:ledger", new_id(), new_command_id())
        try:
            return (await self._log.append(Append(f"archive-{archive.first}", 0, (event,), context))).position
        except VersionConflict:
            raise NotYet("another replica has archived it") from None

    async def _covered(self, position: int) -> None:
        """Wait until a checkpoint speaks of a position."""
        until = monotonic() + _CHECKPOINT_SECONDS
        while monotonic() < until:
            with suppress(NotYet):
                await self._trunk(position)
                return
            await asyncio.sleep(_CHECKPOINT_LOOK)
        raise NotYet(f"no checkpoint speaks of position {position} yet")

    def _check(self, archived: Archive) -> None:
        """The file is what the log says that it is: it is about to be the only one that has these events."""
        path = place_of(self._folder, archived)
        if ArchiveFile(path, self._signer.key(int(archived.name.rpartition("/")[2]))).check()[0] != archived:
            raise Wrong(f"the archive {path} is not what position {archived.first} and the following had")

    async def _prune(self, first: int, record: int) -> None:
        for _ in range(_LOCK_TRIES):
            try:
                async with self._log.connection() as connection:
                    await connection.execute(f"SET statement_timeout = '{_PRUNE_SECONDS:.0f}s'")
                    events = await connection.fetchval(
                        "SELECT log.prune($1, $2, $3)", first, record, self._retention, timeout=_PRUNE_SECONDS
                    )
            except asyncpg.LockNotAvailableError:
                await asyncio.sleep(_LOCK_PAUSE)
            else:
                _PRUNED.inc()
                _log.info("partition_pruned", first=first, events=events, record=record)
                return
        raise NotYet("somebody reads the events without a pause (a back-up?)")
