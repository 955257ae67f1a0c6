"""The delay of a revocation as a picture: which share is refused after how many milliseconds.

    python -m tests.benchmarks.plot [BENCH_JSON [SVG]]

Usually of `$STAGEDOOR_HOME/bench.json`, into `docs/revocation-delay.svg`.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from infra.local.home import DEFAULT

_SVG = Path(__file__).resolve().parents[2] / "docs" / "revocation-delay.svg"
_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 50, 110
_COLOURS = ("#b3261e", "#1b5e9e", "#5a7d1e")
_SHARES = (0, 25, 50, 75, 90, 99, 100)
_TARGETS = {50: 5.0, 99: 20.0}
"""Milliseconds within which so many of a hundred should be refused."""
_LEAST = 25.0
_STEPS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)
"""Milliseconds between two marks."""


def picture(lines: Mapping[str, Sequence[float]]) -> str:
    """An SVG of some distributions, each given as its values at equal steps."""
    return "\n".join(_parts(lines)) + "\n"


def _parts(lines: Mapping[str, Sequence[float]]) -> Iterator[str]:
    widest = max(_LEAST, *(1.1 * values[int(0.99 * (len(values) - 1))] for values in lines.values()))
    across, up = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(milliseconds: float) -> float:
        return _LEFT + across * min(1.0, milliseconds / widest)

    def y(share: float) -> float:
        return _TOP + up * (1 - share / 100)

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        ' font-size="12" role="img">'
    )
    yield "<title>From the acknowledgement of a revocation until guards refuse</title>"
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
    yield f'<text x="{_LEFT}" y="24" font-size="15">Share of revocations that guards refuse after so many ms</text>'
    for share in _SHARES:
        yield _line(_LEFT, y(share), _WIDTH - _RIGHT, y(share), "#dddddd")
    for share in (0, 25, 50, 75, 100):
        yield f'<text x="{_LEFT - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share} %</text>'
    step = next((step for step in _STEPS if widest / step <= 10), _STEPS[-1])
    for mark in range(0, int(widest) + 1, step):
        yield _line(x(mark), _TOP, x(mark), y(0), "#eeeeee")
        yield f'<text x="{x(mark):.1f}" y="{y(0) + 18:.1f}" text-anchor="middle">{mark}</text>'
    for share, milliseconds in _TARGETS.items():
        yield f'<circle cx="{x(milliseconds):.1f}" cy="{y(share):.1f}" r="4" fill="none" stroke="#000000"/>'
    for number, (name, values) in enumerate(lines.items()):
        last = len(values) - 1
        points = " ".join(f"{x(value):.1f},{y(100 * place / last):.1f}" for place, value in enumerate(values))
        colour, low = _COLOURS[number % len(_COLOURS)], _HEIGHT - 66 + 18 * number
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield _line(_LEFT, low - 4, _LEFT + 24, low - 4, colour)
        yield f'<text x="{_LEFT + 32}" y="{low}">{escape(name)}</text>'
    yield f'<text x="{_LEFT}" y="{_HEIGHT - 8}">circles: p50 under 5 ms and p99 under 20 ms, the targets</text>'
    yield "</svg>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def main() -> None:
    """Draw; exit status 1 where row P6 was not measured."""
    usual = Path(os.environ.get("STAGEDOOR_HOME") or DEFAULT) / "bench.json"
    given = [*map(Path, sys.argv[1:]), *(usual, _SVG)[len(sys.argv) - 1 :]]
    found: list[dict[str, Any]] = json.loads(given[0].read_text())
    lines = {
        one["what"].rpartition(":")[0]: one["distribution"]
        for one in found
        if one["row"] == "P6" and one.get("distribution")
    }
    if not lines:
        sys.exit(f"{given[0]} has no distribution of row P6")
    given[1].write_text(picture(lines))


if __name__ == "__main__":
    main()
