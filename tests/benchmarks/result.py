"""What a benchmark found: one line of the table, one object of the JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from tests.benchmarks.rounds import Spread

_STEPS = 200
"""Of a distribution."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be, and which of the two figures of a result it is about."""

    sign: Literal[">=", "<=", "<"]
    bound: float
    about: Literal["value", "ratio"] = "value"

    def met(self, found: float) -> bool:
        """Whether a figure is what it should be."""
        match self.sign:
            case ">=":
                return found >= self.bound
            case "<=":
                return found <= self.bound
            case "<":
                return found < self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:,g}{' x' if self.about == 'ratio' else ''}"


@dataclass(frozen=True, slots=True)
class Result:
    """One figure: the median of its rounds, their extremes, and beside a baseline its ratio to that one's median."""

    row: str
    what: str
    value: float
    unit: str
    minimum: float
    maximum: float
    rounds: int
    baseline: float | None = None
    ratio: float | None = None
    target: str | None = None
    met: bool | None = None
    errors: int = 0
    """Answers that were not what they should have been. A figure with any is void: its target is not met."""
    distribution: tuple[float, ...] | None = None
    """Of what is measured once for each of many: the values at equal steps from the least to the greatest."""

    @classmethod
    def of(
        cls,
        row: str,
        what: str,
        unit: str,
        found: Spread,
        *,
        baseline: Spread | None = None,
        ratio: Spread | None = None,
        target: Target | None = None,
        errors: int = 0,
    ) -> "Result":
        """A result; without `ratio`, it is that of the medians."""
        part = None
        if baseline is not None:
            part = ratio.median if ratio is not None else found.median / baseline.median
        measured = part if target is not None and target.about == "ratio" else found.median
        return cls(
            row=row,
            what=what,
            value=found.median,
            unit=unit,
            minimum=found.minimum,
            maximum=found.maximum,
            rounds=found.rounds,
            baseline=None if baseline is None else baseline.median,
            ratio=part,
            target=None if target is None else str(target),
            met=None if target is None or measured is None else target.met(measured) and not errors,
            errors=errors,
        )

    def with_distribution(self, ordered: Sequence[float]) -> "Result":
        """The same, with all of what it is about, in order, thinned out."""
        last = len(ordered) - 1
        return replace(self, distribution=tuple(round(ordered[last * step // _STEPS], 3) for step in range(_STEPS + 1)))


def show(results: Sequence[Result], console: Console) -> None:
    """Print the table."""
    table = Table(title="Benchmarks", title_justify="left")
    for name in ("row", "what"):
        table.add_column(name, overflow="fold")
    for name in ("median", "min", "max", "unit", "baseline", "ratio", "target", "met"):
        table.add_column(name, no_wrap=True, justify="left" if name == "unit" else "right")
    before = ""
    for result in results:
        if before and before != result.row:
            table.add_section()
        before = result.row
        table.add_row(
            result.row,
            result.what,
            *(_figure(value) for value in (result.value, result.minimum, result.maximum)),
            result.unit,
            _figure(result.baseline),
            _figure(result.ratio),
            result.target or "",
            _verdict(result),
        )
    console.print(table)


def save(results: Iterable[Result], path: Path) -> None:
    """Write the JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


def _verdict(result: Result) -> str:
    if result.errors:
        return f"{result.errors} errors"
    return "" if result.met is None else "yes" if result.met else "NO"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
