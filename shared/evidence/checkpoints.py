"""Checkpoints: signed statements of what the log was (c2sp.org/tlog-checkpoint), and the folder where they are kept.

The folder has one subfolder for each branch of the log, named for the epoch in which the branch began: 1, and a further
one after a back-up was restored that lacked events which a checkpoint already spoke of. In it:

key                    the public key, as auditors pin it
checkpoint             the last one, as a witness takes it
checkpoints/<day>.jsonl  one of each minute in which there were some, in order, one JSON object a line
tile/                  the tree (`shared.evidence.tiles`)
"""

import fcntl
import json
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.evidence.stagedoor_verify import Archive, Checkpoint, Key, Wrong
from shared.evidence.tiles import Tiles, sync, write_durably
from shared.keys import MasterKey

_PURPOSE = "checkpoints"
_BETWEEN = timedelta(minutes=1)
"""Between two that are noted: under load there is one every two seconds."""


class Signer:
    """Signs checkpoints of the log of one issuer, and what was archived of it.

    The key is derived from the ledger's master key, and kept nowhere.
    """

    def __init__(self, master: MasterKey, issuer: str) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(master.derive(_PURPOSE))
        self._name = f"{issuer.partition('://')[2]}/log"

    def key(self, branch: int) -> Key:
        """The public key, with the name of a branch."""
        return Key(f"{self._name}/{branch}", self._private.public_key().public_bytes_raw())

    def sign(self, stated: Checkpoint | Archive, branch: int) -> str:
        """The signed note (c2sp.org/signed-note); its first line tells what it is of."""
        key = self.key(branch)
        signature = base64_of(key.id + self._private.sign(stated.text.encode()))
        return f"{stated.text}\n\u2014 {key.name} {signature}\n"


def base64_of(raw: bytes) -> str:
    """Base64 with padding (RFC 4648 section 4)."""
    return b64encode(raw).decode()


class Branch:
    """One tree with its checkpoints."""

    def __init__(self, folder: Path, number: int, signer: Signer) -> None:
        self._folder = folder / str(number)
        self._signer = signer
        self.number = number
        self.key = signer.key(number)
        self._noted_at: datetime | None = None
        self.tiles = Tiles(self._folder)

    def last(self) -> tuple[str, Checkpoint] | None:
        """The last checkpoint, as the note that it is and as it was opened; raises `Wrong` if it is not ours."""
        try:
            note = (self._folder / "checkpoint").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return note, Checkpoint.open(note, self.key)

    def root(self, size: int) -> bytes:
        """The root over the first `size` leaves, from the tiles."""
        return self.tiles.hash_of(0, size)

    def make(self, size: int, now: datetime) -> None:
        """Sign the tree of `size`, and keep it; nothing is done if somebody has signed as much meanwhile.

        Raises `Wrong` rather than sign what the last checkpoint contradicts.
        """
        with self._locked():
            before = self.last()
            if before is not None:
                if self.root(before[1].size) != before[1].root:
                    raise Wrong("the tree on disk is not that of the last checkpoint")
                if before[1].size >= size:
                    return
            made = Checkpoint(self.key.name, size, self.root(size))
            note = self._signer.sign(made, self.number)
            write_durably(self._folder / "key", f"{self.key}\n".encode())
            write_durably(self._folder / "checkpoint", note.encode())
            sync(self._folder)
            # Last: whoever reads what was kept, and then the last one, finds none that the last one knows nothing of.
            if self._noted_at is None or not timedelta() <= now - self._noted_at < _BETWEEN:
                history = self._folder / "checkpoints" / f"{now.astimezone(UTC):%Y-%m-%d}.jsonl"
                _append(history, json.dumps({"at": now.astimezone(UTC).isoformat(), "checkpoint": note}))
                self._noted_at = now

    def kept(self) -> Iterator[str]:
        """Checkpoints that were kept, in order, as notes: the last of each day, of the last day all, and the last."""
        days = sorted((self._folder / "checkpoints").glob("*.jsonl"))
        note = ""
        for day in days:
            with day.open(encoding="utf-8") as lines:
                for found in filter(None, map(_note, lines)):
                    note = found
                    if day == days[-1]:
                        yield note
            if day != days[-1] and note:
                yield note
        last = self.last()
        if last is not None and last[0] != note:
            yield last[0]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Leadership does not keep two leaders apart for certain; this does, on one file system."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def branches(folder: Path) -> list[int]:
    """The branches that there are, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isascii() and path.name.isdigit())


def _append(path: Path, line: str) -> None:
    """Add a line, durably; one that an earlier process did not finish is left behind as a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        torn = file.tell() > 0
        if torn:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write(("\n" if torn else "").encode() + line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def _note(line: str) -> str | None:
    """The checkpoint of a line; None for one that was not finished."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    note = found.get("checkpoint") if isinstance(found, dict) else None
    return note if isinstance(note, str) else None
