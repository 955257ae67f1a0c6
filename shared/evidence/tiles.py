"""The Merkle tree in files, as c2sp.org/tlog-tiles lays them out: `tile/<level>/<number>`, 256 hashes each.

A tile that is not full yet is called `<number>.p/<width>`, so no file is ever changed: what a checkpoint is about stays
as it was while the next one is made, and a half-written file never has a name. What is on disk beyond a checkpoint is
of one that was not finished; it is written again, and has to be the same.
"""

import os
import secrets
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from shared.evidence.stagedoor_verify import HASH, TILE, node_hash, perfect, split

_REMEMBERED = 4096
"""Tiles that are kept in memory: 32 MB."""


class Diverged(Exception):  # noqa: N818  (it is found, not a malfunction)
    """What is on disk is not what is to be written there; `index` is the first leaf that can be different."""

    def __init__(self, index: int) -> None:
        super().__init__(f"position {index + 1}: the tree on disk has another event there")
        self.index = index


class MissingTile(Exception):  # noqa: N818  (as above)
    """A tile that has to be there is not, or is not whole."""


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that has all of its content or does not exist, also after a loss of power; `sync` its folder."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Tiles:
    """The tiles of one tree, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tile"
        self._remembered: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def path(self, level: int, number: int, width: int = TILE) -> Path:
        """Where a tile is: the number in groups of three digits, all but the last one behind an `x`."""
        digits = f"{number:03}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        path = self._folder.joinpath(str(level), *(f"x{group}" for group in groups[:-1]), groups[-1])
        return path if width == TILE else path.with_name(f"{path.name}.p") / str(width)

    def hashes(self, level: int, number: int, width: int) -> bytes:
        """The first `width` hashes of a tile; raises `MissingTile`."""
        if width == 0:
            return b""
        remembered = self._remembered.get((level, number))
        if remembered is not None:
            self._remembered.move_to_end((level, number))
            return remembered[: width * HASH]
        found = _read(self.path(level, number))
        if found is not None and len(found) == TILE * HASH:
            self._remember(level, number, found)
            return found[: width * HASH]
        found = _read(self.path(level, number, width)) if width < TILE else None
        if found is None:  # it may have become full since
            found = (_read(self.path(level, number)) or b"")[: width * HASH]
        if len(found) != width * HASH:
            raise MissingTile(f"the tile {self.path(level, number, width)} is not there, or is not whole")
        return found

    def leaves(self, first: int, end: int) -> bytes:
        """Leaf hashes of a tree that has at least `end` leaves, from `first` (from 0) to before `end`."""
        parts = []
        while first < end:
            number, at = divmod(first, TILE)
            upto = min(end - number * TILE, TILE)
            parts.append(self._at_least(number, upto)[at * HASH : upto * HASH])
            first = number * TILE + upto
        return b"".join(parts)

    def hash_of(self, low: int, high: int) -> bytes:
        """The hash over leaves from `low` to before `high`, as it stands in a tree that has them."""
        count = high - low
        if count & (count - 1) or low % count:
            middle = low + split(count)
            return node_hash(self.hash_of(low, middle), self.hash_of(middle, high))
        level, rest = divmod(count.bit_length() - 1, 8)
        number, at = divmod(low >> 8 * level, TILE)
        if level == 0:
            return perfect(self.leaves(low, high))
        return perfect(self._at_least(number, at + (1 << rest), level)[at * HASH : (at + (1 << rest)) * HASH])

    def grow(self, size: int, leaves: bytes) -> None:
        """Write what a tree of `size` has more with these leaves; raises `Diverged` if other hashes are there already.

        Everything is durable afterwards. The partial tiles of before stay until their tile is full.
        """
        folders: set[Path] = set()
        level, before, added = 0, size, leaves
        while added:
            first = before // TILE
            content = self.hashes(level, first, before % TILE) + added
            above = bytearray()
            for number in range(first, first + -(-len(content) // (TILE * HASH))):
                at = (number - first) * TILE * HASH
                tile = content[at : at + TILE * HASH]
                self._write(level, number, tile, folders)
                if len(tile) == TILE * HASH:
                    above += perfect(tile)
            level, before, added = level + 1, first, bytes(above)
        for folder in sorted(folders):
            sync(folder)

    def trim(self, size: int) -> None:
        """Take away what a tree of `size` does not have: what was written for a larger one that was never signed."""
        self.forget()
        for level in range(64):
            folder = self._folder / str(level)
            if not folder.is_dir():
                break
            number, width = divmod(size >> 8 * level, TILE)
            edge = self._at_least(number, width, level)[: width * HASH]
            if edge:
                path = self.path(level, number, width)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_durably(path, edge)
                sync(path.parent)
            for path in [path for path in folder.rglob("[0-9]*") if path.is_file()]:
                of, wide = _number_and_width(path.relative_to(folder))
                if of > number or (of == number and wide > width):
                    path.unlink()

    def forget(self) -> None:
        """Read everything from disk again."""
        self._remembered.clear()

    def _write(self, level: int, number: int, tile: bytes, folders: set[Path]) -> None:
        width = len(tile) // HASH
        path = self.path(level, number, width)
        there = _read(path)
        if there is not None and len(there) == len(tile):
            if there != tile:
                same = next(at for at in range(width) if there[at * HASH :][:HASH] != tile[at * HASH :][:HASH])
                raise Diverged((number * TILE + same) * TILE**level)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, tile)
            folders.update(folder for folder in path.parents if folder.is_relative_to(self._folder.parent))
        if width == TILE:
            self._remember(level, number, tile)
            self._drop_partial(path.with_name(f"{path.name}.p"))

    def _drop_partial(self, folder: Path) -> None:
        with suppress(OSError):  # another leader may be at it, too
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
            folder.rmdir()

    def _at_least(self, number: int, width: int, level: int = 0) -> bytes:
        """A tile that has at least so many hashes: the full one, or the narrowest that is wide enough."""
        try:
            return self.hashes(level, number, width)
        except MissingTile:
            folder = self.path(level, number, 1).parent
            widths = sorted(int(path.name) for path in folder.glob("[0-9]*")) if folder.is_dir() else []
            wide = next((found for found in widths if found >= width), None)
            if wide is None:
                raise
            return self.hashes(level, number, wide)

    def _remember(self, level: int, number: int, tile: bytes) -> None:
        self._remembered[level, number] = tile
        self._remembered.move_to_end((level, number))
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)


def _number_and_width(path: Path) -> tuple[int, int]:
    """Which tile is at a path below its level."""
    *groups, last = path.parts
    width = TILE
    if groups and groups[-1].endswith(".p"):
        width, last = int(last), groups.pop().removesuffix(".p")
    return int("".join(group.removeprefix("x") for group in (*groups, last))), width


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
