"""However a tree grows, it is the tree that RFC 6962 section 2.1 defines; proofs prove what they should and no more."""

import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.evidence import stagedoor_verify as verify
from shared.evidence.proofs import prove_consistency, prove_inclusion
from shared.evidence.stagedoor_verify import HASH, Growing, Wrong
from shared.evidence.tiles import Diverged, MissingTile, Tiles

STEPS = st.lists(st.one_of(st.integers(1, 5), st.integers(200, 700)), min_size=1, max_size=6)
"""How many leaves come at a time."""


def leaves(count: int, salt: int = 0) -> bytes:
    return b"".join(sha256(f"{salt} {number}".encode()).digest() for number in range(count))


def naive(level: bytes) -> bytes:
    """As the RFC writes it down."""
    count = len(level) // HASH
    if count == 0:
        return sha256().digest()
    if count == 1:
        return level
    k = 1
    while k * 2 < count:
        k *= 2
    return sha256(b"\x01" + naive(level[: k * HASH]) + naive(level[k * HASH :])).digest()


@given(STEPS)
@settings(deadline=None, max_examples=40)
def test_a_tree_that_grows_is_the_naive_tree(steps: list[int]) -> None:
    everything = leaves(sum(steps))
    tree, size = Growing(), 0
    for step in steps:
        tree.add(everything[size * HASH : (size + step) * HASH])
        size += step
        assert tree.size == size
        assert tree.root() == naive(everything[: size * HASH])


@given(STEPS, st.data())
@settings(deadline=None, max_examples=25)
def test_tiles_answer_as_the_naive_tree(steps: list[int], data: st.DataObject) -> None:
    everything, size = leaves(sum(steps)), 0
    with tempfile.TemporaryDirectory() as folder:
        tiles = Tiles(Path(folder))
        sizes = []
        for step in steps:
            tiles.grow(size, everything[size * HASH : (size + step) * HASH])
            size += step
            sizes.append(size)
            if data.draw(st.booleans()):
                tiles = Tiles(Path(folder))  # as after a restart
        for reached in sizes:
            assert tiles.hash_of(0, reached) == naive(everything[: reached * HASH])
        low = data.draw(st.integers(0, size))
        high = data.draw(st.integers(low, size))
        assert tiles.leaves(low, high) == everything[low * HASH : high * HASH]

        index = data.draw(st.integers(0, size - 1))
        within = data.draw(st.integers(index + 1, size))
        root = naive(everything[: within * HASH])
        leaf = everything[index * HASH : (index + 1) * HASH]
        proof = prove_inclusion(index, within, tiles.hash_of)
        assert verify.root_from_inclusion(index, within, leaf, proof) == root
        first = data.draw(st.integers(0, within))
        roots = naive(everything[: first * HASH]), root
        grown = prove_consistency(first, within, tiles.hash_of)
        verify.check_consistency(first, within, roots, grown)

        for wrong in mutated(proof, data):
            assert leads_to(index, within, leaf, wrong) != root
        for wrong in mutated(grown, data):
            with pytest.raises(Wrong):
                verify.check_consistency(first, within, roots, wrong)

        end = data.draw(st.integers(index + 1, within))
        stretch = everything[index * HASH : end * HASH]
        ends = prove_inclusion(index, within, tiles.hash_of), prove_inclusion(end - 1, within, tiles.hash_of)
        assert verify.root_from_range(index, stretch, within, *ends) == root
        at = data.draw(st.integers(0, len(stretch) - 1))
        other = stretch[:at] + bytes([stretch[at] ^ 1]) + stretch[at + 1 :]
        assert verify.root_from_range(index, other, within, *ends) != root


def mutated(proof: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    """Proofs that differ from a right one in one thing."""
    found = [[*proof, sha256().digest()], [sha256().digest(), *proof]]
    if proof:
        at, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
        one = bytearray(proof[at])
        one[bit // 8] ^= 1 << bit % 8
        found += [[*proof[:at], bytes(one), *proof[at + 1 :]], proof[:at] + proof[at + 1 :], [*proof[:at], b""]]
    return found


def leads_to(index: int, size: int, leaf: bytes, proof: list[bytes]) -> bytes | None:
    try:
        return verify.root_from_inclusion(index, size, leaf, proof)
    except Wrong:
        return None


@given(st.integers(1, 600), st.integers(1, 600), st.data())
@settings(deadline=None, max_examples=25)
def test_what_is_on_disk_is_never_overwritten_by_something_else(before: int, more: int, data: st.DataObject) -> None:
    """As after a crash between tiles and checkpoint, with a log that was changed meanwhile."""
    everything = leaves(before + more)
    changed = data.draw(st.integers(before, before + more - 1))
    other = everything[: changed * HASH] + b"?" * HASH + everything[(changed + 1) * HASH :]
    with tempfile.TemporaryDirectory() as folder:
        tiles = Tiles(Path(folder))
        tiles.grow(0, everything[: before * HASH])
        tiles.grow(before, everything[before * HASH :])
        again = Tiles(Path(folder))
        again.grow(before, everything[before * HASH :])
        with pytest.raises(Diverged) as found:
            Tiles(Path(folder)).grow(before, other[before * HASH :])
        assert found.value.index == changed
        assert Tiles(Path(folder)).hash_of(0, before + more) == naive(everything)


@given(st.integers(0, 1200), st.integers(1, 700), st.integers(1, 700))
@settings(deadline=None, max_examples=20)
def test_a_trimmed_tree_is_the_smaller_one(size: int, lost: int, other: int) -> None:
    before, after = leaves(size + lost), leaves(size) + leaves(other, 1)
    with tempfile.TemporaryDirectory() as folder:
        tiles = Tiles(Path(folder))
        tiles.grow(0, before[: size * HASH])
        tiles.grow(size, before[size * HASH :])
        tiles.trim(size)
        Tiles(Path(folder)).grow(size, after[size * HASH :])
        again = Tiles(Path(folder))
        assert again.hash_of(0, size + other) == naive(after)
        assert again.leaves(0, size + other) == after


def test_names_of_tiles_are_those_of_the_specification(tmp_path: Path) -> None:
    """c2sp.org/tlog-tiles has these two examples."""
    tiles = Tiles(tmp_path)
    assert tiles.path(0, 1234067).relative_to(tmp_path) == Path("tile/0/x001/x234/067")
    tiles.grow(0, leaves(70_000))
    names = {str(path.relative_to(tmp_path / "tile")) for path in (tmp_path / "tile").rglob("*") if path.is_file()}
    level_0 = {f"0/{number:03}" for number in range(273)} | {"0/273.p/112"}
    assert names == level_0 | {"1/000", "1/001.p/17", "2/000.p/1"}


def test_a_tile_that_is_missing_is_not_made_up(tmp_path: Path) -> None:
    tiles = Tiles(tmp_path)
    tiles.grow(0, leaves(300))
    tiles.path(0, 0).write_bytes(b"half of it")
    with pytest.raises(MissingTile):
        Tiles(tmp_path).leaves(0, 300)
    tiles.path(1, 0, 1).write_bytes(b"")
    with pytest.raises(MissingTile):
        Tiles(tmp_path).hash_of(0, 300)
