"""Which hashes of a tree prove something about it (RFC 6962 section 2.1).

How they are checked is in `shared.evidence.stagedoor_verify`.
"""

from collections.abc import Callable

from shared.evidence.stagedoor_verify import siblings, split

HashOf = Callable[[int, int], bytes]
"""The hash over the leaves from the first number to before the second."""


def prove_inclusion(index: int, size: int, hash_of: HashOf) -> list[bytes]:
    """That the leaf at `index` (from 0) is in the tree of the first `size` leaves (section 2.1.1)."""
    return [hash_of(low, high) for low, high in siblings(index, size)]


def prove_consistency(first: int, second: int, hash_of: HashOf) -> list[bytes]:
    """That the tree of `second` leaves begins with that of `first` (section 2.1.2); the empty one needs no proof."""
    if not 0 < first < second:
        return []
    proof: list[bytes] = []
    low, high, whole = 0, second, True
    while high != first:
        middle = low + split(high - low)
        if first <= middle:
            proof.append(hash_of(middle, high))
            high = middle
        else:
            proof.append(hash_of(low, middle))
            low, whole = middle, False
    if not whole:
        proof.append(hash_of(low, high))
    return proof[::-1]
