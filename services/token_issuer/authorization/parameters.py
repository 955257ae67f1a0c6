"""The parameters of a request as the browser brought them, before any of them is believed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

REPEATABLE = frozenset({"resource", "audience"})
"""RFC 8707 section 2; everything else is given once (RFC 6749 section 3.1)."""

MOST_PARAMETERS = 64
LONGEST_VALUE = 4096
LONGEST_IN_ALL = 24 * 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Parameters:
    """Names and values; what is empty counts as left out (RFC 6749 section 3.1)."""

    values: Mapping[str, tuple[str, ...]]
    repeated: frozenset[str]
    """Names that were given more than once and may not be."""
    oversized: bool
    """There is more of them than any honest request has."""

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> "Parameters":
        """Sort out pairs in their order."""
        given = list(pairs)
        seen: set[str] = set()
        repeated: set[str] = set()
        values: dict[str, tuple[str, ...]] = {}
        for name, value in given:
            if name in seen and name not in REPEATABLE:
                repeated.add(name)
            seen.add(name)
            if value:
                values[name] = (*values.get(name, ()), value)
        oversized = len(given) > MOST_PARAMETERS or sum(len(n) + len(v) for n, v in given) > LONGEST_IN_ALL
        return cls(values, frozenset(repeated), oversized)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every name with each of its values."""
        return [(name, value) for name, values in self.values.items() for value in values]

    def get(self, name: str) -> str | None:
        """The first value."""
        values = self.values.get(name)
        return values[0] if values else None

    def all(self, name: str) -> tuple[str, ...]:
        """All values."""
        return self.values.get(name, ())

    def trusted(self, name: str) -> str | None:
        """The value, if it was given once, is not too long and holds no control character; else None."""
        value = self.get(name)
        if value is None or name in self.repeated or len(value) > LONGEST_VALUE or _CONTROL.search(value):
            return None
        return value

    def faulty(self) -> str | None:
        """The name of a parameter that is too long or holds a control character."""
        for name, values in self.values.items():
            if any(len(value) > LONGEST_VALUE or _CONTROL.search(value) for value in values):
                return name if re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) else "a parameter"
        return None
