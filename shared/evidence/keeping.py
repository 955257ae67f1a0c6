"""Keeps the tree as far as the log, and signs a checkpoint of it every few seconds while the log grows.

It adds hashes as they stand in the log, and never takes one back: what it finds changed behind it is an alarm, and no
checkpoint is signed while that stands. The data behind a hash are not looked at here: that is left to whoever verifies
the whole log.

A back-up that was restored may lack events of which a checkpoint speaks already. As soon as the log itself says so, by
an epoch that begins within the tree, the tree goes on as another branch, under another name: whoever holds a checkpoint
of before sees that something was lost, and the lost branch stays as it was.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
from prometheus_client import Counter, Gauge

from shared.clock import Clock
from shared.evidence.archive import Leaves
from shared.evidence.checkpoints import Branch, Signer, branches
from shared.evidence.stagedoor_verify import HASH, TILE, Checkpoint, Wrong
from shared.evidence.tiles import Diverged, MissingTile, write_durably
from shared.log.append import Head, LogUnavailable
from shared.log.log import Log
from shared.questions import OUT_OF_REACH, ask
from shared.telemetry import logger

_log = logger(__name__)
_SIZE = Gauge("stagedoor_evidence_size", "Events that the last checkpoint speaks of.")
_MADE = Counter("stagedoor_evidence_checkpoints", "Checkpoints made.")
_BROKEN = Gauge("stagedoor_evidence_broken", "1: the log is not what a checkpoint says that it was.")
_CURRENT = Gauge(
    "stagedoor_evidence_current_timestamp_seconds",
    "When the last checkpoint was last known to be of all of the log, or this replica began (Unix time).",
)
_FAILURES = Counter("stagedoor_evidence_failures", "Times that the tree could not be kept.")

_ALARM = "alarm"
"""A file, so that every replica can tell."""
PAGE = 40 * TILE
"""Hashes of one statement."""


class Evidence:
    """The evidence of one log: all replicas answer from it, the leader keeps it."""

    def __init__(  # noqa: PLR0913, PLR0917  (each is one independent part)
        self,
        log: Log,
        folder: Path,
        signer: Signer,
        every_seconds: float,
        clock: Clock,
        archives: Path | None = None,
    ) -> None:
        """`archives`: where the archives of what has left the log are, should the tree have to be made again."""
        self._log = log
        self._folder = folder
        self._signer = signer
        self._every = every_seconds
        self._clock = clock
        self._archived = None if archives is None else Leaves(archives, signer)
        self._branch: Branch | None = None
        self._sound: tuple[int, int] | None = None
        """Branch and size of the last tree that was compared with what is on disk and in the log, or written there."""
        self._known: tuple[int, int] | None = None
        """Branch and epoch that were looked at together: nothing of the branch was lost."""
        self._said = ""
        _CURRENT.set_to_current_time()

    async def keep(self) -> None:
        """The leader's work, for ever, whatever happens."""
        self._branch = self._sound = self._known = None  # another leader may have gone on meanwhile
        while True:
            try:
                await self._catch_up_or_tell()
            except (LogUnavailable, *OUT_OF_REACH, asyncpg.PostgresError) as failure:
                _FAILURES.inc()
                _log.warning("evidence_failed", error=type(failure).__name__)
            await asyncio.sleep(self._every)

    async def _catch_up_or_tell(self) -> None:
        try:
            await self.catch_up()
        except (Wrong, Diverged, MissingTile) as found:
            await asyncio.to_thread(self._raise_alarm, str(found))

    async def catch_up(self) -> None:
        """Take the tree to the head of the log and sign it; raises `Wrong`, `Diverged` or `MissingTile`."""
        head = await self._log.head()
        if head.position == 0 and not branches(self._folder):
            return
        branch, size = await self._trunk(head)
        if head.position < size:
            raise Wrong(f"the log ends here, and a checkpoint says that it had {size} events", head.position + 1)
        try:
            size = await self._grow(branch, size, head.position)
        except Diverged as found:
            if not await self._given_out_again(branch, size + 1, found.index + 1):
                raise
            await asyncio.to_thread(branch.tiles.trim, size)
            size = await self._grow(branch, size, head.position)
        if size and self._sound != (branch.number, size):
            await asyncio.to_thread(branch.make, size, self._clock())
            _MADE.inc()
        self._sound = (branch.number, size)
        _SIZE.set(size)
        _CURRENT.set_to_current_time()
        _BROKEN.set(0)
        if self._said or self.alarm:
            (self._folder / _ALARM).unlink(missing_ok=True)
            self._said = ""

    @property
    def alarm(self) -> str:
        """What the leader, whichever replica that is, has found wrong with the log; empty: nothing."""
        try:
            return (self._folder / _ALARM).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def branches(self) -> list[Branch]:
        """All branches that there are, the oldest first."""
        return [Branch(self._folder, number, self._signer) for number in branches(self._folder)]

    def current(self) -> tuple[Branch, str, Checkpoint] | None:
        """The branch that goes on, with its last checkpoint; None before there is one. Raises `Wrong`."""
        for branch in reversed(self.branches()):
            last = branch.last()
            if last is not None:
                return branch, *last
        return None

    async def _grow(self, branch: Branch, size: int, until: int) -> int:
        while size < until:
            end = min(until, (size // PAGE + 1) * PAGE)
            await asyncio.to_thread(branch.tiles.grow, size, await self._leaves_anew(size, end))
            size = end
        return size

    async def _given_out_again(self, branch: Branch, first: int, last: int) -> bool:
        """Whether an epoch began between two positions: what was there before, and is on disk unsigned, is void."""
        epochs = await self._epochs()
        return any(epoch > branch.number and first <= began <= last for epoch, began in epochs)

    async def _epochs(self) -> list[tuple[int, int]]:
        """All epochs, with their first positions."""
        rows = await ask(self._log.pool.fetch("SELECT epoch, first_position FROM log.known_epochs()"))
        return [(row["epoch"], row["first_position"]) for row in rows]

    async def _trunk(self, head: Head) -> tuple[Branch, int]:
        """The branch that the log is on, and how many events its last checkpoint speaks of."""
        known = branches(self._folder)
        number = known[-1] if known else max(head.epoch, 1)
        if self._branch is None or self._branch.number != number:
            self._branch, self._sound = Branch(self._folder, number, self._signer), None
        branch = self._branch
        last = await asyncio.to_thread(branch.last)
        size = 0 if last is None else last[1].size
        anew = last is not None and self._sound != (number, size)
        if last is not None and anew and await asyncio.to_thread(self._root_anew, branch, size) != last[1].root:
            raise Wrong("the tree on disk is not that of the last checkpoint")
        if size and head.epoch > number and self._known != (number, head.epoch):
            lost = await self._lost(branch, size, head)
            if lost is not None:
                return await self._branch_off(branch, head.epoch, lost), 0
            self._known = (number, head.epoch)
        if anew:
            await self._compare(branch, max(0, size - PAGE), min(size, head.position))
        return branch, size

    def _root_anew(self, branch: Branch, size: int) -> bytes:
        branch.tiles.forget()
        return branch.root(size)

    async def _lost(self, branch: Branch, size: int, head: Head) -> int | None:
        """The first position of the tree that an epoch gave out again; None if the tree has what the epochs have."""
        lost = []
        for epoch, first in await self._epochs():
            if not branch.number < epoch <= head.epoch or first > size:
                continue
            if first > head.position or await self._unlike(branch, first - 1, first) is not None:
                lost.append(first)
        return min(lost, default=None)

    async def _branch_off(self, branch: Branch, epoch: int, first_position: int) -> Branch:
        """Go on with another tree, after making certain that up to there the log is what it was."""
        for after in range(0, first_position - 1, PAGE):
            await self._compare(branch, after, min(after + PAGE, first_position - 1))
        _log.error("evidence_branches", branch=epoch, first_position=first_position)
        self._branch, self._sound = Branch(self._folder, epoch, self._signer), None
        return self._branch

    async def _compare(self, branch: Branch, after: int, until: int) -> None:
        """That the log's hashes after a position and up to another are those of the tree."""
        wrong = await self._unlike(branch, after, until)
        if wrong is not None:
            raise Wrong("it is not the event that was there when the checkpoint was made", wrong)

    async def _unlike(self, branch: Branch, after: int, until: int) -> int | None:
        """The first position after one and up to another at which the log has another hash than the tree.

        None if there is none. Of events that have left the log the tree alone has a hash: it was compared before they
        did, and whether they are just those that were archived is left to whoever verifies. Raises `Wrong` for an event
        that is missing otherwise.
        """
        if after >= until:
            return None
        kept = await asyncio.to_thread(branch.tiles.leaves, after, until)
        pruned = await self._pruned(after, until)
        if not pruned:
            stated = await self._leaves(after, until)
            if stated == kept:
                return None
            at = next(at for at in range(0, len(kept), HASH) if stated[at : at + HASH] != kept[at : at + HASH])
            return after + at // HASH + 1
        rows = await ask(self._log.pool.fetch("SELECT * FROM log.hashes($1, $2)", after, until))
        there = {row["position"]: row["leaf_hash"] for row in rows}
        for position in range(after + 1, until + 1):
            at = (position - after - 1) * HASH
            if position in there:
                if there[position] != kept[at : at + HASH]:
                    return position
            elif not any(one["first"] <= position <= one["last"] for one in pruned):
                raise Wrong("the event is missing", position)
        return None

    async def _leaves_anew(self, after: int, until: int) -> bytes:
        """The hashes for a tree that does not have them yet; of what has left the log as its archive has them."""
        pruned = await self._pruned(after, until)
        if not pruned or self._archived is None:
            return await self._leaves(after, until)
        rows = await ask(self._log.pool.fetch("SELECT * FROM log.hashes($1, $2)", after, until))
        there = {row["position"]: row["leaf_hash"] for row in rows}
        for one in pruned:
            gone = await asyncio.to_thread(self._archived.between, one["first"], one["last"], after, until)
            there = gone | there
        for position in range(after + 1, until + 1):
            if len(there.get(position, b"")) != HASH:
                raise Wrong("the event is missing", position)
        return b"".join(there[position] for position in range(after + 1, until + 1))

    async def _pruned(self, after: int, until: int) -> Sequence[Any]:
        """Stretches of which events have left the log, if they have something after a position and up to another."""
        found: Sequence[Any] = await ask(
            self._log.pool.fetch("SELECT first, last FROM log.pruned_between($1, $2)", after, until)
        )
        return found

    async def _leaves(self, after: int, until: int) -> bytes:
        found = await ask(self._log.pool.fetchrow("SELECT * FROM log.leaf_hashes($1, $2)", after, until))
        hashes: bytes = found["hashes"]
        if found["positions"] != until - after or len(hashes) != (until - after) * HASH:
            raise Wrong("the event is missing, or there is another one in its place", await self._gap(after, until))
        return hashes

    async def _gap(self, after: int, until: int) -> int:
        rows = await ask(self._log.pool.fetch("SELECT * FROM log.hashes($1, $2)", after, until))
        expected = after + 1
        for row in rows:
            position: int = row["position"]
            if position != expected or len(row["leaf_hash"]) != HASH:
                return min(expected, position)
            expected += 1
        return expected

    def _raise_alarm(self, what: str) -> None:
        _BROKEN.set(1)
        if what != self._said:
            _log.error("evidence_broken", what=what)
            self._folder.mkdir(parents=True, exist_ok=True)
            write_durably(self._folder / _ALARM, what.encode())
        self._said = what
