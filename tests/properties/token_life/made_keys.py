"""Signing keys that are made once in a test run."""

from collections import Counter
from functools import cache

from services.token_issuer.events import KeyUse
from services.token_issuer.signing import SigningKey, generate


class MadeKeys:
    """In the place of `generate`: every life makes the same keys, since making an RSA key takes longer than a life."""

    def __init__(self) -> None:
        self._counts: Counter[KeyUse] = Counter()
        self._beginning: Counter[KeyUse] = Counter()

    def stay_here(self) -> None:
        """Lives begin with the keys that there are now."""
        self._beginning = Counter(self._counts)

    def go_back(self) -> None:
        self._counts = Counter(self._beginning)

    def __call__(self, use: KeyUse) -> tuple[SigningKey, dict[str, str]]:
        self._counts[use] += 1
        return _key(use, self._counts[use])


@cache
def _key(use: KeyUse, _: int) -> tuple[SigningKey, dict[str, str]]:
    return generate(use)
