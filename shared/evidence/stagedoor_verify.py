"""Checks what was taken from a log of Stagedoor: an export, an archive, a proof or a checkpoint. It trusts a key.

    stagedoor-verify FILE --key KEY [--earlier FILE]...

This file needs Python and `cryptography`, and nothing else of Stagedoor: take it along. Trees and proofs are those of
RFC 6962 section 2.1; checkpoints and keys have the forms of c2sp.org/tlog-checkpoint and c2sp.org/signed-note.
"""

import argparse
import base64
import binascii
import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EXPORT: Final = "stagedoor-export-v1"
PROOF: Final = "stagedoor-proof-v1"
ARCHIVE: Final = "stagedoor-archive-v1"
FORM: Final = "stagedoor-event-v1"
"""First line of every leaf."""
HASH: Final = 32
"""Bytes of SHA-256."""
TILE: Final = 256
"""Hashes that a tile is wide (c2sp.org/tlog-tiles)."""
_ED25519: Final = b"\x01"
"""Signature type of a note's key."""
_LONGEST_NOTE: Final = 1_000_000
_LONGEST_LINE: Final = 4_000_000
_MOST_SIGNATURES: Final = 100
_MOST_STRETCHES: Final = 10_000
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_LINES_OF_A_LEAF: Final = 12
_SALT_BYTES: Final = 16
_MEMBERS: Final = frozenset(
    {
        *("position", "epoch", "stream", "version", "type", "data", "data_digest", "salt"),
        *("actor", "command_id", "correlation_id", "causation_id", "recorded_at", "leaf"),
    }
)
"""Of an exported event: all of them are proven, so there are no others."""


class Wrong(Exception):  # noqa: N818  (it is what this program is for, not a malfunction)
    """Something is not what it is said to be; `position` is the first wrong one, where that is known."""

    def __init__(self, what: str, position: int | None = None) -> None:
        super().__init__(what if position is None else f"position {position}: {what}")
        self.position = position


# Events


def data_digest(salt: bytes, data: bytes) -> bytes:
    """SHA-256 of the salt followed by the data."""
    return sha256(salt + data).digest()


def leaf_hash(text: bytes) -> bytes:
    """The hash of a leaf (RFC 6962 section 2.1)."""
    return sha256(b"\x00" + text).digest()


def leaf_text(event: Mapping[str, Any], digest: bytes) -> bytes:
    """What is hashed of an event: its members in lines, its data as their digest."""
    causation = event["causation_id"]
    members = (
        FORM,
        event["epoch"],
        event["position"],
        event["stream"],
        event["version"],
        event["type"],
        digest.hex(),
        event["actor"],
        event["command_id"],
        event["correlation_id"],
        "" if causation is None else causation,
        event["recorded_at"],
    )
    return "\n".join(map(str, members)).encode()


def event_hash(event: Mapping[str, Any]) -> bytes:
    """The leaf hash of an exported event, from all that it says; raises `Wrong` if that does not fit together."""
    position = event.get("position")
    try:
        salt = bytes.fromhex(event["salt"])
        digest = data_digest(salt, event["data"].encode())
        text = leaf_text(event, digest)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Wrong("it is not an event", position if type(position) is int else None) from None
    if not event.keys() <= _MEMBERS:
        raise Wrong("it says more than its hash covers", position)
    if len(salt) != _SALT_BYTES:
        # The hash alone does not tell where the salt ends, and so where the data begin.
        raise Wrong("it is not an event", position)
    if event.get("data_digest") != digest.hex():
        raise Wrong("its data are not those that its digest is of", position)
    if text.count(b"\n") != _LINES_OF_A_LEAF - 1:
        raise Wrong("it is not an event", position)
    return leaf_hash(text)


# Trees


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node (RFC 6962 section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def perfect(level: bytes) -> bytes:
    """The root over hashes one behind the other, as many as a power of two."""
    while len(level) > HASH:
        level = b"".join(
            [sha256(b"\x01" + level[at : at + 2 * HASH]).digest() for at in range(0, len(level), 2 * HASH)]
        )
    return level


def split(size: int) -> int:
    """How many leaves are to the left of the root: the largest power of two that is less than the size."""
    return 1 << (size - 1).bit_length() - 1


class Growing:
    """A tree to which leaves are added, and of which only the perfect parts are kept, from left to right."""

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[tuple[int, bytes]] = []
        """Height and hash of each."""

    def add(self, leaves: bytes) -> None:
        """More leaf hashes, one behind the other."""
        at = 0
        while at < len(leaves):
            if self.size % TILE == 0 and len(leaves) - at >= TILE * HASH:
                self._put(8, perfect(leaves[at : at + TILE * HASH]))
                at += TILE * HASH
                self.size += TILE
            else:
                self._put(0, leaves[at : at + HASH])
                at += HASH
                self.size += 1

    def root(self) -> bytes:
        """The root of all so far."""
        if not self._parts:
            return sha256().digest()
        _, root = self._parts[-1]
        for _, left in reversed(self._parts[:-1]):
            root = node_hash(left, root)
        return root

    def _put(self, height: int, part: bytes) -> None:
        while self._parts and self._parts[-1][0] == height:
            part = node_hash(self._parts.pop()[1], part)
            height += 1
        self._parts.append((height, part))


def root_of(leaves: bytes) -> bytes:
    """The root over leaf hashes one behind the other."""
    tree = Growing()
    tree.add(leaves)
    return tree.root()


def siblings(index: int, size: int) -> list[tuple[int, int]]:
    """The ranges of leaves beside the way from a leaf to the root, whose hashes prove it; from the leaf upwards."""
    if not 0 <= index < size:
        raise Wrong(f"there is no leaf {index} in a tree of {size}")
    beside: list[tuple[int, int]] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + split(high - low)
        if index < middle:
            beside.append((middle, high))
            high = middle
        else:
            beside.append((low, middle))
            low = middle
    return beside[::-1]


def root_from_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 6962 section 2.1.1); `index` is from 0."""
    beside = siblings(index, size)
    if len(proof) != len(beside) or any(len(one) != HASH for one in (leaf, *proof)):
        raise Wrong("the inclusion proof does not have the form of one")
    root = leaf
    for (low, _), one in zip(beside, proof, strict=True):
        root = node_hash(one, root) if low < index else node_hash(root, one)
    return root


class Part:
    """A range of a tree's leaves, of which only the perfect parts are kept, from left to right."""

    def __init__(self, first: int) -> None:
        """`first`: the number of its first leaf, from 0."""
        self.first = self.end = first
        self._parts: list[tuple[int, int, bytes]] = []
        """First leaf, height and hash of each."""

    def add(self, leaves: bytes) -> None:
        """More leaf hashes, one behind the other."""
        at = 0
        while at < len(leaves):
            if self.end % TILE == 0 and len(leaves) - at >= TILE * HASH:
                self._put(8, perfect(leaves[at : at + TILE * HASH]))
                at += TILE * HASH
            else:
                self._put(0, leaves[at : at + HASH])
                at += HASH

    def root(self, size: int, proof_of_first: Sequence[bytes], proof_of_last: Sequence[bytes]) -> bytes:
        """The root over `size` leaves that it leads to, with the inclusion proofs of its two ends."""
        if self.end == self.first:
            raise Wrong("there is nothing in the range")
        known = {(low, low + (1 << height)): part for low, height, part in self._parts}
        for index, proof in ((self.first, proof_of_first), (self.end - 1, proof_of_last)):
            beside = siblings(index, size)
            if len(proof) != len(beside) or any(len(one) != HASH for one in proof):
                raise Wrong("the inclusion proof does not have the form of one")
            known |= {
                (low, high): one
                for (low, high), one in zip(beside, proof, strict=True)
                if high <= self.first or self.end <= low
            }

        def root(low: int, high: int) -> bytes:
            if (low, high) in known:
                return known[low, high]
            middle = low + split(high - low)
            return node_hash(root(low, middle), root(middle, high))

        return root(0, size)

    def _put(self, height: int, part: bytes) -> None:
        low = self.end
        self.end += 1 << height
        while self._parts and self._parts[-1][1] == height and low >> height & 1:
            low, _, left = self._parts.pop()
            part = node_hash(left, part)
            height += 1
        self._parts.append((low, height, part))


def root_from_range(
    first: int, leaves: bytes, size: int, proof_of_first: Sequence[bytes], proof_of_last: Sequence[bytes]
) -> bytes:
    """The root that a range of leaves leads to, with the inclusion proofs of its two ends; `first` is from 0."""
    part = Part(first)
    part.add(leaves)
    return part.root(size, proof_of_first, proof_of_last)


def check_consistency(first: int, second: int, roots: tuple[bytes, bytes], proof: Sequence[bytes]) -> None:
    """That the tree of `second` leaves begins with that of `first` (RFC 6962 section 2.1.2); raises `Wrong`."""
    if not 0 <= first <= second:
        raise Wrong(f"a log of {second} events does not go on from one of {first}")
    if first == second:
        right = roots[0] == roots[1] and not proof
    elif first == 0:
        right = roots[0] == sha256().digest() and not proof
    else:
        hashes = list(proof) if first & (first - 1) else [roots[0], *proof]
        right = all(len(one) == HASH for one in hashes) and _grown(first, second, hashes) == roots
    if not right:
        raise Wrong(f"the log of {second} events does not begin with the log of {first} events")


def _grown(first: int, second: int, hashes: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The two roots that a consistency proof leads to; the first hash is that of a part that both trees have."""
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    if not hashes:
        return None
    earlier = later = hashes[0]
    for one in hashes[1:]:
        if last == 0:
            return None
        if at & 1 or at == last:
            earlier, later = node_hash(one, earlier), node_hash(one, later)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            later = node_hash(later, one)
        at, last = at >> 1, last >> 1
    return None if last else (earlier, later)


# Checkpoints


@dataclass(frozen=True, slots=True)
class Key:
    """A public key that signs checkpoints, with the name that the log has."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that say which key a signature is of."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "Key":
        """From `name+id+key`; raises `Wrong`."""
        name, _, rest = text.partition("+")
        stated, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        if not _is_name(name) or len(raw) != HASH + 1 or raw[:1] != _ED25519:
            raise Wrong("this is no key that checkpoints are checked with")
        key = cls(name, raw[1:])
        if stated != key.id.hex():
            raise Wrong("the key is not the one that its id is of")
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log was: how many events it had, and the root of the tree over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def open(cls, note: str, key: Key) -> "Checkpoint":
        """From a note that the key has signed, of the log that the key is named for; raises `Wrong`."""
        lines = open_note(note, key).split("\n")
        if len(lines) < 4 or "" in lines[:-1] or not _SIZE.fullmatch(lines[1]):
            raise Wrong("this is no checkpoint")
        root = _decoded(lines[2])
        if len(root) != HASH:
            raise Wrong("this is no checkpoint")
        if lines[0] != key.name:
            raise Wrong(f"the checkpoint is of another log: {lines[0]!r}")
        return cls(lines[0], int(lines[1]), root)


def open_note(note: str, key: Key) -> str:
    """The text of a signed note; raises `Wrong` if it is none, or the key has not signed it."""
    malformed = Wrong("this is no signed note")
    if len(note) > _LONGEST_NOTE or any(character < " " and character != "\n" for character in note):
        raise malformed
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not text or not signatures.endswith("\n"):
        raise malformed
    text += "\n"
    lines = signatures[:-1].split("\n")
    if len(lines) > _MOST_SIGNATURES:
        raise malformed
    signed = False
    for line in lines:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        signature = _decoded(encoded)
        if dash != "\u2014" or not _is_name(name) or len(signature) < 5:
            raise malformed
        if name == key.name and signature[:4] == key.id and not signed:
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(signature[4:], text.encode())
            except InvalidSignature:
                raise Wrong("the signature is not that of the key") from None
            signed = True
    if not signed:
        raise Wrong("the key has not signed it")
    return text


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(character.isspace() for character in name)


def _decoded(text: object) -> bytes:
    """Base64 in its one right spelling; empty for anything else."""
    try:
        raw = base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if base64.b64encode(raw).decode() == text else b""


# Archives


@dataclass(frozen=True, slots=True)
class Archive:
    """What was archived of a stretch of positions and may be missing in the log, as it was signed then."""

    name: str
    """Of the log, as in its checkpoints."""
    first: int
    last: int
    events: int
    """How many of the stretch's events were archived; the others stay in the log."""
    content: bytes
    """SHA-256 of the archive's lines but the last."""
    width: int
    """Positions of one digest."""
    digests: tuple[bytes, ...]
    """SHA-256 over the leaf hashes of the archived events, one digest for each `width` positions from the first on."""

    @property
    def text(self) -> str:
        """What is signed."""
        head = (ARCHIVE, self.name, self.first, self.last, self.events, self.content.hex(), self.width)
        return "".join(f"{line}\n" for line in (*head, *(one.hex() for one in self.digests)))

    @classmethod
    def open(cls, note: str, key: Key) -> "Archive":
        """From a note that the key has signed, of the log that it is named for, or another branch of it; or `Wrong`."""
        name = note.partition("\n")[2].partition("\n")[0]
        if name.rpartition("/")[0] != key.name.rpartition("/")[0]:
            raise Wrong(f"the archive is of another log: {name!r}")
        lines = open_note(note, Key(name, key.public)).split("\n")[:-1]
        malformed = Wrong("this does not say what was archived")
        if len(lines) < 8 or lines[0] != ARCHIVE or not all(map(_SIZE.fullmatch, (*lines[2:5], lines[6]))):
            raise malformed
        first, last, events, width = (int(line) for line in (*lines[2:5], lines[6]))
        digests = tuple(map(_hex_digest, lines[7:]))
        found = cls(name, first, last, events, _hex_digest(lines[5]), width, digests)
        enough = 1 <= first <= last and width > 0 and len(digests) == -(-(last - first + 1) // width)
        if not enough or found.text != "".join(f"{line}\n" for line in lines):
            raise malformed
        return found

    def stretch(self, number: int) -> tuple[int, int]:
        """First and last position of a digest."""
        low = self.first + number * self.width
        return low, min(low + self.width - 1, self.last)


class Absent:
    """Events that are not there, held against what was archived: they have to be just those."""

    def __init__(self, archives: Iterable[Archive]) -> None:
        self._archives = sorted(archives, key=lambda one: one.first)
        self._digests: dict[tuple[int, int], Any] = {}
        """By first position of the archive and number of the stretch."""
        self.number = 0

    def add(self, position: int, leaf: bytes) -> bool:
        """An event is missing, whose leaf hash the tree has; False if nothing was archived there."""
        archive = next((one for one in self._archives if one.first <= position <= one.last), None)
        if archive is None:
            return False
        place = (archive.first, (position - archive.first) // archive.width)
        if place not in self._digests:
            self._digests[place] = sha256()
        self._digests[place].update(leaf)
        self.number += 1
        return True

    def check(self, first: int, last: int) -> None:
        """What is missing between two positions is what was archived, as far as whole stretches tell; or `Wrong`."""
        for archive in self._archives:
            for number, digest in enumerate(archive.digests):
                low, high = archive.stretch(number)
                if first <= low and high <= last:
                    found = self._digests.get((archive.first, number), sha256())
                    if found.digest() != digest:
                        raise Unlike(low, high)


class Unlike(Wrong):
    """Other events are missing in a stretch than were archived of it."""

    def __init__(self, low: int, high: int, what: str = "what is missing there is not what was archived") -> None:
        super().__init__(f"the first wrong position is between {low} and {high}: {what}")
        self.low, self.high = low, high


def _hex_digest(text: str) -> bytes:
    """A SHA-256 in lower-case hexadecimal digits; empty for anything else."""
    return bytes.fromhex(text) if _HEX_DIGEST.fullmatch(text) else b""


# Files


class ArchiveFile:
    """An archive, read line by line: it may be of many millions of events."""

    def __init__(self, path: Path, key: Key) -> None:
        self._path = path
        self._key = key
        self.checkpoint: Checkpoint | None = None
        """What it leads to; known when everything was read."""
        self.archive: Archive | None = None
        """What was signed of it; as above."""

    def bounds(self) -> tuple[int, int]:
        """The first and the last position that it says that it is of."""
        contents = _begun(next(_lines(self._path), b""))
        return contents.first, contents.last

    def read(self) -> Iterator[tuple[int, bytes, Mapping[str, Any] | None]]:
        """Each position with its leaf hash, and its event if it was archived; at the end everything has been checked.

        What is wrong is raised as `Wrong`, some of it only after the last position.
        """
        lines = _lines(self._path)
        line = next(lines, b"")
        contents = _begun(line)
        contents.line(line)
        for line in lines:
            document = _object(_decoded_line(line))
            if "note" in document:
                self._check_end(contents, document, next(lines, None))
                return
            contents.line(line)
            told, event = _positions(document, contents.position)
            for leaf in told:
                yield contents.position, leaf, event
                contents.add(leaf, archived=event is not None)
        raise Wrong("the archive does not end with what was signed of it")

    def _check_end(self, contents: "Contents", footer: Mapping[str, Any], after: bytes | None) -> None:
        first, last = contents.first, contents.last
        if contents.position <= last:
            raise Wrong("the event is missing", contents.position)
        if after is not None:
            raise Wrong("the archive does not end with what was signed of it")
        archive = Archive.open(_text(footer, "note"), self._key)
        if archive != contents.archive(archive.name):
            raise Wrong("it is not what was archived")
        checkpoint = Checkpoint.open(_text(footer, "checkpoint"), Key(archive.name, self._key.public))
        if last > checkpoint.size:
            raise Wrong(f"positions {first} to {last} are not in a log of {checkpoint.size} events")
        if contents.part.root(checkpoint.size, _hashes(footer, "first"), _hashes(footer, "last")) != checkpoint.root:
            raise Wrong(f"positions {first} to {last} do not lead to the root of the checkpoint")
        self.archive, self.checkpoint = archive, checkpoint

    def check(self) -> tuple[Archive, Checkpoint]:
        """Everything; raises `Wrong`."""
        for _ in self.read():
            pass
        return self.check_read()

    def check_read(self) -> tuple[Archive, Checkpoint]:
        """What was found by reading all of it."""
        if self.archive is None or self.checkpoint is None:
            raise Wrong("this is no archive")
        return self.archive, self.checkpoint


class Contents:
    """What an archive has, line by line, for whoever writes one and whoever checks one."""

    def __init__(self, first: int, last: int, width: int) -> None:
        """Of the positions from the first to the last, with a digest for each `width` of them."""
        self.first, self.last = first, last
        self.position = first
        """Of the event that comes next."""
        self.part = Part(first - 1)
        self._width = width
        self._events = 0
        self._content = sha256()
        stretches = -(-(last - first + 1) // width)
        if not 1 <= stretches <= _MOST_STRETCHES:
            raise Wrong("this is no archive")
        self._digests = [sha256() for _ in range(stretches)]

    def line(self, line: bytes) -> None:
        """A line, all of it."""
        self._content.update(line)

    def add(self, leaf: bytes, *, archived: bool) -> None:
        """The leaf hash of the next event, and whether its event is in the archive or stays in the log."""
        if self.position > self.last:
            raise Wrong("there are more positions than the archive is of", self.position)
        self.part.add(leaf)
        if archived:
            self._events += 1
            self._digests[(self.position - self.first) // self._width].update(leaf)
        self.position += 1

    def archive(self, name: str) -> Archive:
        """What there is to be signed."""
        digests = tuple(one.digest() for one in self._digests)
        return Archive(name, self.first, self.last, self._events, self._content.digest(), self._width, digests)


def _begun(line: bytes) -> Contents:
    """From the first line of an archive."""
    header = _object(_decoded_line(line))
    if header.get("format") != ARCHIVE:
        raise Wrong("this is no archive")
    return Contents(_number(header, "from"), _number(header, "to"), _number(header, "width"))


def _positions(document: Mapping[str, Any], expected: int) -> tuple[list[bytes], Mapping[str, Any] | None]:
    """What a line of an archive tells of: one event, or leaf hashes of events that stay in the log."""
    if document.get("position") != expected:
        raise Wrong(f"the event is missing; in its place is that of position {document.get('position')}", expected)
    if "leaves" not in document:
        leaf = event_hash(document)
        if document.get("leaf") != leaf.hex():
            raise Wrong("it is not the event that was there when the checkpoint was made", expected)
        return [leaf], document
    leaves = _decoded(document["leaves"])
    if document.keys() != {"position", "leaves"} or not leaves or len(leaves) % HASH:
        raise Wrong("it is not a line of an archive", expected)
    return [leaves[at : at + HASH] for at in range(0, len(leaves), HASH)], None


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a file that may be compressed; raises `Wrong` if it is not whole."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if packed else raw as file:
                while line := file.readline(_LONGEST_LINE):
                    if not line.endswith(b"\n"):
                        raise Wrong("the file is not whole")
                    yield line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise Wrong("the file is not whole") from None


def _decoded_line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Wrong("a line is not a JSON object") from None


@dataclass(frozen=True, slots=True)
class Export:
    """A stretch of the log that leads to a checkpoint."""

    checkpoint: Checkpoint
    first: int
    last: int
    tree: bytes
    """The leaf hashes of its events, one behind the other."""
    header: Mapping[str, Any]

    @classmethod
    def open(cls, lines: Iterable[str], key: Key) -> "Export":
        """Check each event, that they are all from the first to the last, and that they lead to the checkpoint."""
        reading = iter(lines)
        header = _object(next(reading, ""))
        if header.get("format") != EXPORT:
            raise Wrong("this is no export")
        first, last = _number(header, "from"), _number(header, "to")
        checkpoint = Checkpoint.open(_text(header, "checkpoint"), key)
        if not first <= last <= checkpoint.size:
            raise Wrong(f"positions {first} to {last} are not in a log of {checkpoint.size} events")
        tree = _check_events(reading, first, last, _absent(header, key))
        root = root_from_range(first - 1, tree, checkpoint.size, _hashes(header, "first"), _hashes(header, "last"))
        if root != checkpoint.root:
            raise Wrong(f"positions {first} to {last} do not lead to the root of the checkpoint")
        return cls(checkpoint, first, last, tree, header)

    def check_earlier(self, earlier: Sequence["Checkpoint | Export"]) -> None:
        """That the log is the one that it was; raises `Wrong`, which names the first wrong position where it can."""
        sound = 0
        for one in earlier:
            if isinstance(one, Export):
                self._check_same(one)
        for one in sorted((one for one in earlier if isinstance(one, Checkpoint)), key=lambda one: one.size):
            if self.first == 1 and one.size <= self.last:
                if root_of(self.tree[: one.size * HASH]) != one.root:
                    raise Wrong(
                        f"the first wrong position is between {sound + 1} and {one.size}:"
                        f" the first {one.size} events are not those of the earlier checkpoint"
                    )
                sound = one.size
            else:
                _check_growth(self.header, self.checkpoint, one)

    def _check_same(self, other: "Export") -> None:
        low, high = max(self.first, other.first), min(self.last, other.last)
        if low > high:
            raise Wrong("the two exports have no position in common")
        for position in range(low, high + 1):
            mine, theirs = (position - self.first) * HASH, (position - other.first) * HASH
            if self.tree[mine : mine + HASH] != other.tree[theirs : theirs + HASH]:
                raise Wrong("it is not the event that was there in the earlier export", position)


def _absent(header: Mapping[str, Any], key: Key) -> Absent:
    """What had left the log before it was exported."""
    notes = header.get("archived", [])
    if not isinstance(notes, list):
        raise Wrong("it is not said what was archived")
    return Absent(Archive.open(str(note), key) for note in notes)


def _check_events(lines: Iterable[str], first: int, last: int, absent: Absent) -> bytes:
    """The leaf hashes that the tree has from the first to the last, if the events are the ones that they are of.

    Of an event that was archived it has the leaf hash alone.
    """
    tree = bytearray()
    expected = first
    for line in lines:
        event = _object(line)
        position = event.get("position")
        if expected > last:
            raise Wrong("there are more events than the export is of", expected)
        if position != expected:
            raise Wrong(f"the event is missing; in its place is that of position {position}", expected)
        if event.keys() == {"position", "leaf"}:
            leaf = _hex_digest(str(event["leaf"]))
            if not leaf or not absent.add(expected, leaf):
                raise Wrong("the event is missing", expected)
        else:
            leaf = event_hash(event)
            if event.get("leaf") != leaf.hex():
                raise Wrong("it is not the event that was there when the checkpoint was made", expected)
        tree += leaf
        expected += 1
    if expected <= last:
        raise Wrong("the event is missing", expected)
    absent.check(first, last)
    return bytes(tree)


def check_proof(document: Mapping[str, Any], key: Key, earlier: Sequence[Checkpoint] = ()) -> str:
    """Check a proof: that an event is in the log of its checkpoint, or that the log goes on from an earlier one."""
    if document.get("format") != PROOF:
        raise Wrong("this is no proof")
    checkpoint = Checkpoint.open(_text(document, "checkpoint"), key)
    said = [f"{checkpoint.origin} had {checkpoint.size} events"]
    event = document.get("event")
    if event is not None:
        position = _number(event, "position")
        leaf = event_hash(event)
        if root_from_inclusion(position - 1, checkpoint.size, leaf, _hashes(document, "inclusion")) != checkpoint.root:
            raise Wrong("it is not the event that was there when the checkpoint was made", position)
        said.append(f"position {position} is {event['type']} by {event['actor']} at {event['recorded_at']}")
    pruned = document.get("pruned")
    if pruned is not None:
        said.append(_check_pruned(pruned, document, checkpoint, key))
    for one in earlier:
        _check_growth(document, checkpoint, one)
        said.append(f"it goes on from the earlier checkpoint of {one.size} events")
    return "; ".join(said)


def _check_pruned(pruned: Any, document: Mapping[str, Any], checkpoint: Checkpoint, key: Key) -> str:
    """That a position is in the tree whose event has left the log."""
    position = _number(pruned, "position")
    leaf = _hex_digest(_text(pruned, "leaf"))
    archive = Archive.open(_text(pruned, "archived"), key)
    if not archive.first <= position <= archive.last:
        raise Wrong("nothing of that position was archived", position)
    if root_from_inclusion(position - 1, checkpoint.size, leaf, _hashes(document, "inclusion")) != checkpoint.root:
        raise Wrong("it is not the hash that was there when the checkpoint was made", position)
    where = f"of {archive.first} to {archive.last} events were archived, and their archive tells whether it is one"
    return f"position {position} has the hash {leaf.hex()}; {where}"


def _check_growth(document: Mapping[str, Any], checkpoint: Checkpoint, earlier: Checkpoint) -> None:
    proof: Sequence[bytes] = ()
    if 0 < earlier.size < checkpoint.size:
        if document.get("consistent_from") != earlier.size:
            raise Wrong(f"the file does not prove that the log goes on from one of {earlier.size} events")
        proof = _hashes(document, "consistency")
    check_consistency(earlier.size, checkpoint.size, (earlier.root, checkpoint.root), proof)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands there twice")
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Wrong("a line is not a JSON object")
    return found


def _number(document: Any, name: str) -> int:
    value = document.get(name) if isinstance(document, dict) else None
    if type(value) is not int or value < 1:
        raise Wrong(f"{name!r} is not a position")
    return value


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise Wrong(f"there is no {name}")
    return value


def _hashes(document: Mapping[str, Any], name: str) -> list[bytes]:
    value = document.get(name)
    if not isinstance(value, list):
        raise Wrong(f"there is no proof {name!r}")
    return [_decoded(one) for one in value]


def check(path: Path, key: Key, earlier: Sequence[Path] = ()) -> str:
    """Check a file of any kind against earlier ones; answers what was found right, raises `Wrong`."""
    before = [_opened(one, key) for one in earlier]
    checkpoints = [one for one in before if isinstance(one, Checkpoint)]
    found = _opened(path, key, checkpoints)
    if isinstance(found, str):
        if len(checkpoints) < len(before):
            raise Wrong("a proof is checked against earlier checkpoints")
        return found
    if isinstance(found, ArchiveFile):
        return _check_archive(found, checkpoints, before)
    if isinstance(found, Export):
        found.check_earlier([one for one in before if isinstance(one, (Checkpoint, Export))])
        said = f"positions {found.first} to {found.last} are those of {found.checkpoint.origin}"
        return f"{said}, which had {found.checkpoint.size} events" + _goes_on(len(before))
    for one in before:
        if not isinstance(one, Checkpoint) or one.size < found.size:
            raise Wrong("a checkpoint alone does not prove that the log goes on from an earlier one")
        check_consistency(one.size, found.size, (one.root, found.root), ())
    return f"{found.origin} had {found.size} events" + _goes_on(len(before))


def _check_archive(file: ArchiveFile, checkpoints: Sequence[Checkpoint], before: Sequence[object]) -> str:
    archive, checkpoint = file.check()
    if len(checkpoints) < len(before) or any(one.size != checkpoint.size for one in checkpoints):
        raise Wrong(f"an archive is checked against checkpoints of {checkpoint.size} events, like its own")
    if any(one.root != checkpoint.root for one in checkpoints):
        raise Wrong("the earlier checkpoint is of another log than the archive")
    said = (
        f"{archive.events} events that were archived between positions {archive.first} and {archive.last} are those of"
    )
    return f"{said} {checkpoint.origin}, which had {checkpoint.size} events" + _goes_on(len(before))


def _goes_on(number: int) -> str:
    return f"; it is the log of the {number} earlier files" if number else ""


def _opened(path: Path, key: Key, earlier: Sequence[Checkpoint] = ()) -> "Checkpoint | Export | ArchiveFile | str":
    """What is in a file; of a proof, what it proves; an archive has still to be read."""
    with path.open("rb") as raw:
        if raw.read(2) == b"\x1f\x8b":
            return ArchiveFile(path, key)
    with path.open(encoding="utf-8") as file:
        begin = file.read(1)
        file.seek(0)
        if begin != "{":
            return Checkpoint.open(file.read(_LONGEST_NOTE + 1), key)
        header = _object(file.readline())
        if header.get("format") == PROOF:
            return check_proof(header, key, earlier)
        if header.get("format") == ARCHIVE:
            return ArchiveFile(path, key)
        file.seek(0)
        return Export.open(file, key)


def main() -> None:
    """Check one file: exit status 0 it is right, 1 it is not (one line says what is wrong), 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="stagedoor-verify", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="an export, an archive, a proof or a checkpoint")
    parser.add_argument("--key", required=True, help="the log's public key, or a file with it")
    parser.add_argument(
        "--earlier",
        type=Path,
        action="append",
        help="a checkpoint or an export of before; repeated",
        default=[],
    )
    given = parser.parse_args()
    try:
        text = given.key if "+" in given.key else Path(given.key).read_text(encoding="utf-8").strip()
        print(_shown(f"right: {check(given.file, Key.parse(text), given.earlier)}"))
    except Wrong as wrong:
        print(_shown(f"stagedoor-verify: {wrong}"), file=sys.stderr)
        sys.exit(1)
    except (OSError, UnicodeDecodeError) as failure:
        print(_shown(f"stagedoor-verify: {failure}"), file=sys.stderr)
        sys.exit(2)


def _shown(text: str) -> str:
    """One line whatever is in it: a file that is not to be believed must not write the verdict (with CR, or CSI)."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


if __name__ == "__main__":
    main()
