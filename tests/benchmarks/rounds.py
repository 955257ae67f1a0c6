"""Rounds, and what is said of them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all rounds."""

    median: float
    minimum: float
    maximum: float
    rounds: int

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Of at least one round."""
        return cls(statistics.median(figures), min(figures), max(figures), len(figures))

    @classmethod
    def ratio(cls, figures: Sequence[float], baseline: Sequence[float]) -> "Spread":
        """Round by round: the two of one round had the same neighbours on the machine."""
        return cls.of([figure / base for figure, base in zip(figures, baseline, strict=True)])


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of them do not exceed."""
    if not values:
        raise ValueError("there is nothing to take a percentile of")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
