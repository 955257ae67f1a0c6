"""Trees, proofs and notes against values that others published.

The trees are the reference values of Certificate Transparency (github.com/transparency-dev/merkle); the notes are those
of Go's checksum database (golang.org/x/mod/sumdb/note).
"""

from hashlib import sha256
from itertools import pairwise

import pytest

from shared.evidence.proofs import prove_consistency, prove_inclusion
from shared.evidence.stagedoor_verify import (
    HASH,
    Key,
    Wrong,
    check_consistency,
    leaf_hash,
    node_hash,
    open_note,
    root_from_inclusion,
    root_of,
)

ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
LEAVES = [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of the first one, two, ... entries."""
INCLUSION = [
    (1, 1, []),
    (
        *(1, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        *(6, 8),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (3, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        *(2, 5),
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
"""Position, size, hashes."""
CONSISTENCY = [
    (1, 1, []),
    (
        *(1, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        *(6, 8),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        *(2, 5),
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        *(6, 7),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
]
"""The two sizes, hashes."""
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
BY_PETER = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
BY_ENOCH = (
    "\u2014 EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)


def hash_of(low: int, high: int) -> bytes:
    return root_of(b"".join(LEAVES[low:high]))


def proof(hashes: list[str]) -> list[bytes]:
    return [bytes.fromhex(one) for one in hashes]


def test_hashes_of_leaves_and_nodes() -> None:
    assert root_of(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert node_hash(b"N123", b"N456").hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"


def test_roots() -> None:
    assert [hash_of(0, size).hex() for size in range(1, 9)] == ROOTS


@pytest.mark.parametrize(("position", "size", "hashes"), INCLUSION)
def test_proofs_of_inclusion(position: int, size: int, hashes: list[str]) -> None:
    assert prove_inclusion(position - 1, size, hash_of) == proof(hashes)
    root = bytes.fromhex(ROOTS[size - 1])
    leaf = LEAVES[position - 1]
    assert root_from_inclusion(position - 1, size, leaf, proof(hashes)) == root


@pytest.mark.parametrize(("position", "size", "hashes"), INCLUSION)
def test_wrong_proofs_of_inclusion(position: int, size: int, hashes: list[str]) -> None:
    """The same corruptions as there: another place, another size, another leaf, a longer or shorter proof."""
    root, leaf, right = bytes.fromhex(ROOTS[size - 1]), LEAVES[position - 1], proof(hashes)
    wrong = [
        (position - 2, size, leaf, right),
        (position, size, leaf, right),
        (position - 1 ^ 2, size, leaf, right),
        (position - 1, size * 2, leaf, right),
        (position - 1, size // 2, leaf, right),
        (position - 1, size, b"WrongLeaf", right),
        (position - 1, size, leaf, [*right, b""]),
        (position - 1, size, leaf, [*right, root]),
        (position - 1, size, leaf, [b"", *right]),
        (position - 1, size, leaf, [root, *right]),
        *((position - 1, size, leaf, right[:-1]) for _ in right[:1]),
        *((position - 1, size, leaf, flipped(right, at)) for at in range(len(right))),
    ]
    for index, leaves, of, hashes_of_it in wrong:
        try:
            assert root_from_inclusion(index, leaves, of, hashes_of_it) != root
        except Wrong:
            continue


@pytest.mark.parametrize(("first", "second", "hashes"), CONSISTENCY)
def test_proofs_of_consistency(first: int, second: int, hashes: list[str]) -> None:
    assert prove_consistency(first, second, hash_of) == proof(hashes)
    roots = bytes.fromhex(ROOTS[first - 1]), bytes.fromhex(ROOTS[second - 1])
    check_consistency(first, second, roots, proof(hashes))


@pytest.mark.parametrize(("first", "second", "hashes"), [one for one in CONSISTENCY if one[2]])
def test_wrong_proofs_of_consistency(first: int, second: int, hashes: list[str]) -> None:
    """The same corruptions as there."""
    roots, right = (bytes.fromhex(ROOTS[first - 1]), bytes.fromhex(ROOTS[second - 1])), proof(hashes)
    wrong = [
        (first - 1, second, roots, right),
        (first + 1, second, roots, right),
        (first ^ 2, second, roots, right),
        (first, second * 2, roots, right),
        (first, second // 2, roots, right),
        (first, second, (b"WrongRoot", roots[1]), right),
        (first, second, (roots[0], b"WrongRoot"), right),
        (first, second, roots[::-1], right),
        (first, second, roots, []),
        *((first, second, roots, [*right, more]) for more in (b"", *roots)),
        *((first, second, roots, [more, *right]) for more in (b"", *roots, right[0])),
        (first, second, roots, right[:-1]),
        *((first, second, roots, flipped(right, at)) for at in range(len(right))),
    ]
    for one in wrong:
        with pytest.raises(Wrong):
            check_consistency(*one)


@pytest.mark.parametrize(
    ("first", "second", "roots", "hashes", "right"),
    [
        (0, 0, (b"1", b"2"), [], False),
        (1, 1, (b"1", b"2"), [], False),
        (0, 0, (b"1", b"1"), [], True),
        (0, 1, (sha256().digest(), b"2"), [], True),
        (0, 1, (b"1", b"2"), [], False),
        (1, 0, (b"1", b"2"), [], False),
        (2, 1, (b"1", b"2"), [], False),
        (1, 2, (b"1", b"2"), [], False),
        (0, 0, (b"1", b"1"), [b"1"], False),
        (1, 1, (b"1", b"1"), [b"1"], False),
    ],
)
def test_consistency_at_the_edges(
    first: int, second: int, roots: tuple[bytes, bytes], hashes: list[bytes], *, right: bool
) -> None:
    try:
        check_consistency(first, second, roots, hashes)
    except Wrong:
        assert not right
    else:
        assert right


def flipped(hashes: list[bytes], at: int) -> list[bytes]:
    assert len(hashes[at]) == HASH
    return [*hashes[:at], bytes([hashes[at][0] ^ 8]) + hashes[at][1:], *hashes[at + 1 :]]


def test_keys_of_notes() -> None:
    assert str(Key.parse(PETER)) == PETER
    for start, end in [(0, at) for at in range(len(PETER))] + [(at, len(PETER)) for at in range(1, len(PETER) + 1)]:
        with pytest.raises(Wrong):
            Key.parse(PETER[start:end])
    for at, character in enumerate(PETER):
        with pytest.raises(Wrong):
            Key.parse(PETER[:at] + chr(ord(character) + 1) + PETER[at + 1 :])
    for wrong in (
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ):
        with pytest.raises(Wrong):
            Key.parse(wrong)


def test_notes_that_are_signed() -> None:
    peter, enoch = Key.parse(PETER), Key.parse(ENOCH)
    for signatures in (BY_PETER, BY_PETER + BY_ENOCH, BY_ENOCH + BY_PETER, BY_PETER * 2 + BY_ENOCH):
        assert open_note(f"{TEXT}\n{signatures}", peter) == TEXT
    assert open_note(f"{TEXT}\n{BY_ENOCH}", enoch) == TEXT


@pytest.mark.parametrize(
    "note",
    [
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}\n{BY_PETER[:-1]}",
        f"\x01{TEXT}\n{BY_PETER}",
        f"{TEXT}\n\u2014 Bad Name x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6K\n",
        f"{TEXT}\n{BY_PETER}Unexpected line.\n",
        f"{TEXT}\n{BY_ENOCH}",
        f"{TEXT}\n{BY_PETER * 101}",
        f"{TEXT}\n{BY_PETER[:60]}ABCD{BY_PETER[60:]}",
        f"{TEXT}\n{BY_PETER.replace('PeterNeumann', 'CarmenSandiego')}",
        f"{TEXT}\n{BY_PETER.replace('x08g', 'xxxx')}",
        f"{TEXT[:-2]}!\n\n{BY_PETER}",
    ],
)
def test_notes_that_are_not(note: str) -> None:
    with pytest.raises(Wrong):
        open_note(note, Key.parse(PETER))


def test_vectors_are_of_growing_trees() -> None:
    """Whoever mistypes a root above breaks this."""
    assert all(earlier != later for earlier, later in pairwise(ROOTS))
