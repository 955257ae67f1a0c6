"""Writes archives: the expiring events of a stretch of positions, with all that is hashed of them, in one file.

Its lines are JSON objects: what it is; each archived event, as in an export; between them the leaf hashes of the
events that stay in the log; at last what was signed of all this, with the hashes that lead from both ends to a
checkpoint. All but the last line, with the checkpoint of the moment, follow from the log alone: an archive that is
written again has the same content. How one is read is in `stagedoor_verify.py`.
"""

import gzip
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Final, Self

from shared.evidence.checkpoints import Branch, Signer, base64_of
from shared.evidence.proofs import prove_inclusion
from shared.evidence.stagedoor_verify import ARCHIVE, HASH, TILE, Archive, ArchiveFile, Contents, Wrong, event_hash
from shared.evidence.tiles import sync

_DIGESTS: Final = 256
"""Of one archive, unless it is so small that they would be of less than a tile."""
_LEVEL: Final = 6
_LINES_OF_A_LEAF: Final = 12


def event_of(leaf: bytes, salt: bytes, data: bytes) -> dict[str, Any]:
    """An event as exports and archives have it, from what is hashed of it; raises `Wrong` if that is no event."""
    stated = leaf.decode(errors="replace").split("\n")
    if len(stated) != _LINES_OF_A_LEAF:
        raise Wrong("it is not an event")
    return {
        "position": int(stated[2]),
        "epoch": int(stated[1]),
        "stream": stated[3],
        "version": int(stated[4]),
        "type": stated[5],
        "data": data.decode(errors="replace"),
        "salt": salt.hex(),
        "data_digest": stated[6],
        "actor": stated[7],
        "command_id": stated[8],
        "correlation_id": stated[9],
        "causation_id": int(stated[10]) if stated[10] else None,
        "recorded_at": stated[11],
    }


def line_of(document: Mapping[str, Any]) -> bytes:
    """A line of an export or an archive."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class Draft:
    """An archive that is being written; it has its name only when it is whole and on the disk."""

    def __init__(self, path: Path, first: int, last: int) -> None:
        """Of the positions from the first to the last, both in it."""
        width = max(TILE, -(-(last - first + 1) // _DIGESTS))
        self._path = path
        self._draft = path.with_name(f".{path.name}.{token_hex(4)}")
        self._contents = Contents(first, last, width)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._raw = self._draft.open("wb")
        # No name and no time in it: what is in the file follows from what is written.
        self._file = gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=self._raw, mtime=0)
        self._write({"format": ARCHIVE, "from": first, "to": last, "width": width})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._raw.close()
        self._draft.unlink(missing_ok=True)

    @property
    def position(self) -> int:
        """Of the next event."""
        return self._contents.position

    def add(self, tree: bytes, rows: Sequence[Mapping[str, Any]]) -> None:
        """The next positions: their hashes in the tree, and the events among them that expire, as the log has them.

        Raises `Wrong` if an event is not the one that the tree has there.
        """
        first = self.position
        end = first + len(tree) // HASH
        for row in rows:
            position = row["position"]
            if not self.position <= position < end:
                raise Wrong("an event stands there twice", position)
            self._keep(tree[(self.position - first) * HASH : (position - first) * HASH])
            if row["misfiled"]:
                raise Wrong("it is among the events that expire, and is not one of them", position)
            event = event_of(row["leaf"], row["salt"], row["data"])
            leaf = tree[(position - first) * HASH : (position - first + 1) * HASH]
            if not event_hash(event) == leaf == row["leaf_hash"]:
                raise Wrong("it is not the event that was there when the checkpoint was made", position)
            self._write({**event, "leaf": leaf.hex()})
            self._contents.add(leaf, archived=True)
        self._keep(tree[(self.position - first) * HASH :])

    def finish(self, branch: Branch, signer: Signer) -> Archive:
        """Sign what was written, with the last checkpoint of a branch, and give the file its name."""
        archive = self._contents.archive(branch.key.name)
        last = branch.last()
        if last is None or last[1].size < archive.last:
            raise Wrong("no checkpoint speaks of all of it yet", archive.last)
        note, checkpoint = last
        ends = {
            name: [base64_of(one) for one in prove_inclusion(position - 1, checkpoint.size, branch.tiles.hash_of)]
            for name, position in (("first", archive.first), ("last", archive.last))
        }
        self._file.write(line_of({"note": signer.sign(archive, branch.number), "checkpoint": note, **ends}))
        self._file.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._draft.replace(self._path)
        sync(self._path.parent)
        return archive

    def _keep(self, leaves: bytes) -> None:
        """Hashes of events that stay in the log."""
        for at in range(0, len(leaves), TILE * HASH):
            some = leaves[at : at + TILE * HASH]
            self._write({"position": self.position, "leaves": base64_of(some)})
            for one in range(0, len(some), HASH):
                self._contents.add(some[one : one + HASH], archived=False)

    def _write(self, document: Mapping[str, Any]) -> None:
        line = line_of(document)
        self._contents.line(line)
        self._file.write(line)


class Leaves:
    """Leaf hashes of what has left the log, read from archives in order: for a tree that has to be made again."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        self._folder = folder
        self._signer = signer
        self._name = ""
        self._position = 0
        self._reading: Iterator[tuple[int, bytes, Mapping[str, Any] | None]] = iter(())

    def between(self, first: int, last: int, after: int, until: int) -> dict[int, bytes]:
        """Those of an archive after a position and up to another, by position.

        Raises `Wrong` if it is not there or not right, at the latest with its last position.
        """
        if self._name != name_of(first, last) or self._position > max(after, first - 1):
            self._begin(first, last)
        found: dict[int, bytes] = {}
        while self._position < min(until, last):
            position, leaf, _ = next(self._reading)
            self._position = position
            if position > after:
                found[position] = leaf
        if self._position == last:
            for _ in self._reading:  # its end, where it is checked
                pass
        return found

    def _begin(self, first: int, last: int) -> None:
        self._name, self._position = name_of(first, last), first - 1
        for path in sorted(self._folder.glob(f"[0-9]*/{self._name}")):
            self._reading = ArchiveFile(path, self._signer.key(int(path.parent.name))).read()
            return
        raise Wrong(f"the event has left the log, and its archive {self._name} is not at hand", first)


def place_of(folder: Path, archive: Archive) -> Path:
    """Where an archive is in the folder of all: each branch of the log has one of its own."""
    return folder / archive.name.rpartition("/")[2] / name_of(archive.first, archive.last)


def name_of(first: int, last: int) -> str:
    """Of an archive's file."""
    return f"{first}-{last}.jsonl.gz"
