"""Where the time of a token goes: samples of the running token issuer, by part."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.local.process import until
from tests.benchmarks.load import pinned
from tests.benchmarks.options import Options
from tests.benchmarks.stage import IssuerAlone

_CONNECTIONS = 32
_WRITE_SECONDS = 10.0
_PARTS = (
    ("signing", ("services/token_issuer/signing", "services/token_issuer/tokens", "/cryptography/")),
    ("the issuer's questions to its tables", ("services/token_issuer/read_model", "shared/questions")),
    ("the issuer's rules and handlers", ("services/token_issuer/", "services/registry/", "services/identity/")),
    ("encoding and sending appends", ("shared/log/", "shared/handle", "shared/projector")),
    ("waking and following", ("shared/wake", "shared/log_feed", "shared/feed", "shared/messaging/", "/stagedoor/")),
    ("log lines", ("/structlog/", "shared/telemetry")),
    ("metrics", ("/prometheus_client/",)),
    ("our HTTP edge", ("shared/http/",)),
    ("Starlette", ("/starlette/",)),
    ("uvicorn", ("/uvicorn/",)),
    ("asyncpg", ("/asyncpg/",)),
)
_LOOP = "the event loop"


async def profile(options: Options, console: Console) -> None:
    """Print the table."""
    async with IssuerAlone() as alone:
        path = alone.folder / "samples.json"
        plain = await alone.issuer("plain")
        profiled = await alone.issuer("profiled", profile=path)
        with pinned():
            answers = await plain.load(_CONNECTIONS).run(options.seconds)
            os.kill(profiled.process.pid, signal.SIGUSR1)
            under = await profiled.load(_CONNECTIONS).run(2 * options.seconds)
            os.kill(profiled.process.pid, signal.SIGUSR2)

        async def written() -> bool:
            return path.exists()

        if not await until(written, _WRITE_SECONDS):
            raise RuntimeError("the profile was not written")
        samples = [(tuple(stack), int(count)) for stack, count in json.loads(path.read_text())]
    if answers.errors or under.errors:
        raise RuntimeError("the token issuer did not answer as it should")
    whole = answers.microseconds()
    total = sum(count for _, count in samples)
    table = Table(title=f"One token: {whole:.0f} µs of the service's processor time", title_justify="left")
    for name in ("part", "share", "µs"):
        table.add_column(name, justify="left" if name == "part" else "right", no_wrap=True)
    for part, count in _by_part(samples).most_common():
        table.add_row(part, f"{count / total:.1%}", f"{count / total * whole:.0f}")
    console.print(table)
    console.print("the functions that most of it passes through, and that most of it is spent in:")
    for through, within in zip(_inclusive(samples).most_common(60), _own(samples).most_common(60), strict=False):
        console.print(f"  {through[1] / total:6.1%} {through[0]:<70} {within[1] / total:6.1%} {within[0]}")


def _by_part(samples: Iterable[tuple[Sequence[str], int]]) -> Counter[str]:
    """The innermost frame that belongs to a part decides; the standard library counts for whoever uses it."""
    found: Counter[str] = Counter()
    for stack, count in samples:
        parts = (part for frame in stack for part, signs in _PARTS if any(sign in frame for sign in signs))
        found[next(parts, _LOOP)] += count
    return found


def _own(samples: Iterable[tuple[Sequence[str], int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for stack, count in samples:
        found[_short(stack[0])] += count
    return found


def _inclusive(samples: Iterable[tuple[Sequence[str], int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for stack, count in samples:
        for frame in {_short(frame) for frame in stack}:
            found[frame] += count
    return found


def _short(frame: str) -> str:
    file, _, name = frame.rpartition(":")
    return f"{'/'.join(Path(file).parts[-2:])} {name}"[:70]
