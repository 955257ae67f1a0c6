"""Goes along the whole log, from the first event on, and finds the first position at which it is not what it was.

It is told, stretch by stretch, what the log has and what the tree says of it, and believes neither: events are hashed
anew, the tree is computed anew and compared with every checkpoint on the way.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import contains

from shared.evidence.stagedoor_verify import HASH, Absent, Archive, Checkpoint, Growing, Unlike, Wrong

ARCHIVED = b"ledger.PartitionArchived"
"""The event that says what was archived, and has the note of it."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some positions: what the tree says, and what the log has there now."""

    tree: bytes
    """The leaf hashes of the tree, one behind the other."""
    leaves: Sequence[bytes]
    """What is hashed of each event, in order."""
    salts: Sequence[bytes]
    data: Sequence[bytes]
    leaf_hashes: bytes
    """What stands beside the events as their hashes."""
    misfiled: Sequence[int] = ()
    """Positions that are found under another source than that of their type."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Something that is said to have left the log."""

    archive: Archive
    """As it was signed."""
    note: str
    record: int
    """Position of the event that has to have the same note."""


class Verification:
    """One verification; afterwards `finish` tells."""

    def __init__(
        self,
        checkpoints: Iterable[Checkpoint],
        of_lost_branches: Iterable[Checkpoint] = (),
        pruned: Iterable[Pruned] = (),
    ) -> None:
        """Of any sizes, in any order; the greatest says how long the log has to be.

        Those of lost branches speak of events that are known to be lost; which ones, `unmet` tells afterwards. Nothing
        may be missing but what is `pruned`.
        """
        self._records = {one.record: one for one in pruned}
        self._absent = Absent(one.archive for one in self._records.values())
        known = {(one, True) for one in checkpoints} | {(one, False) for one in of_lost_branches}
        self._checkpoints = sorted(known, key=lambda one: one[0].size)
        self._tree = Growing()
        self._met = 0
        self._sound = 0
        """Size of the last checkpoint that the tree agrees with."""
        self._event: Wrong | None = None
        self._root: Wrong | None = None
        self.unmet: list[Checkpoint] = []
        """Checkpoints of lost branches that are not those of this log, the smallest first."""
        self.compared = 0
        """How many checkpoints were met and found right."""

    @property
    def pruned(self) -> int:
        """How many events were missing, as they may be."""
        return self._absent.number

    @property
    def lost(self) -> tuple[int, int] | None:
        """Between which positions are those that a lost branch had from there on; None: nothing is known to be lost."""
        if not self.unmet:
            return None
        sound = max((one.size for one, _ in self._checkpoints if one.size < self.unmet[0].size), default=0)
        return sound + 1, self.unmet[-1].size

    def go_on(self, stretch: Stretch) -> None:
        """With the next positions."""
        if self._event is None:
            computed = [sha256(b"\x00" + leaf).digest() for leaf in stretch.leaves]
            pairs = zip(stretch.salts, stretch.data, strict=True)
            digests = [sha256(salt + data).hexdigest().encode() for salt, data in pairs]
            # No other line of a leaf has the form of a digest, so it need not be taken apart as long as all is right.
            right = stretch.tree == stretch.leaf_hashes == b"".join(computed) and not stretch.misfiled
            if not right or not all(map(contains, stretch.leaves, [b"\n%b\n" % one for one in digests])):
                self._event = self._first_wrong(stretch, computed, digests)
            self._meet(stretch)
        self._grow(stretch.tree)

    def _meet(self, stretch: Stretch) -> None:
        """The events that say what was archived have to say just what the ledger says."""
        until = self._tree.size + len(stretch.tree) // HASH
        for record in [one for one in self._records if self._tree.size < one <= until]:
            for leaf, data in zip(stretch.leaves, stretch.data, strict=True):
                stated = leaf.split(b"\n", 6)
                if stated[2:3] == [b"%d" % record] and stated[5:6] == [ARCHIVED]:
                    if _note_of(data) == self._records[record].note:
                        del self._records[record]
                    break

    def finish(self) -> None:
        """Raises `Wrong` for what was found; it names the first wrong position, or between which two it is."""
        beyond = self._checkpoints[self._met :]
        self.unmet += [one for one, binding in beyond if not binding]
        self._met = len(self._checkpoints)
        until = self._tree.size if self._event is None else (self._event.position or 1) - 1
        self._absent.check(1, until)
        if self._event is not None:
            raise self._event
        for unsaid in self._records.values():
            first, last = unsaid.archive.first, unsaid.archive.last
            raise Unlike(first, last, f"no event at position {unsaid.record} says that it was archived")
        if self._root is not None:
            raise self._root
        for one, binding in beyond:
            if binding:
                what = f"the log ends here, and a checkpoint says that it had {one.size} events"
                raise Wrong(what, self._tree.size + 1)

    def _grow(self, tree: bytes) -> None:
        at = 0
        while self._met < len(self._checkpoints):
            one, binding = self._checkpoints[self._met]
            enough = (one.size - self._tree.size) * HASH
            if enough > len(tree) - at:
                break
            self._tree.add(tree[at : at + enough])
            at += enough
            self._met += 1
            if self._tree.root() == one.root:
                self._sound = one.size
                self.compared += 1
            elif not binding:
                self.unmet.append(one)
            elif self._root is None:
                self._root = Wrong(
                    f"the first wrong position is between {self._sound + 1} and {one.size}:"
                    f" the tree is not that of the checkpoint of {one.size} events"
                )
        self._tree.add(tree[at:])

    def _first_wrong(self, stretch: Stretch, computed: Sequence[bytes], digests: Sequence[bytes]) -> Wrong | None:
        at = 0
        for index in range(len(stretch.tree) // HASH):
            position = self._tree.size + index + 1
            tree = stretch.tree[index * HASH : (index + 1) * HASH]
            stated = stretch.leaves[at].split(b"\n", 7) if at < len(stretch.leaves) else []
            if stated[2:3] != [b"%d" % position] and self._absent.add(position, tree):
                continue
            if not stated:
                return Wrong("the event is missing", position)
            if computed[at] != tree:
                return Wrong(_why(stated, position), position)
            what = ""
            if stated[6] != digests[at]:
                what = "its data are not those that its digest is of"
            elif stretch.leaf_hashes[at * HASH : (at + 1) * HASH] != computed[at]:
                what = "the hash that stands beside it is not its hash"
            elif position in stretch.misfiled:
                what = "it is found under another source than its own"
            if what:
                return Wrong(what, position)
            at += 1
        if at < len(stretch.leaves):
            return Wrong("an event stands there twice", self._tree.size + len(stretch.tree) // HASH)
        return None


def _note_of(data: bytes) -> str | None:
    """What an event says that was signed of an archive."""
    try:
        found = json.loads(data)
    except ValueError:
        return None
    note = found.get("note") if isinstance(found, dict) else None
    return note if isinstance(note, str) else None


def _why(stated: Sequence[bytes], position: int) -> str:
    found = stated[2] if len(stated) > 2 else b""
    if found.isdigit() and int(found) > position:
        return f"the event is missing; the next one is that of position {int(found)}"
    if found.isdigit() and int(found) < position:
        return f"the event of position {int(found)} stands there twice"
    return "it is not the event that was there when the checkpoint was made"
