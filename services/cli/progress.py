"""How far something long has come: a bar on a terminal, a line now and then elsewhere, nothing beside JSON."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from services.cli import output

_EVERY_SECONDS: Final = 10.0
"""Between two lines."""


@contextmanager
def progress(total: int, of: str, *, what: str = "", quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Tell on standard error how much of `total` is done, at which rate, and how much time is left.

    Yields what is to be told how much is done. `of` names the things that are counted, `what` what is done to them;
    `quiet`: say nothing.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield _lines(total, of, what) if not quiet else _nothing
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(of), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(total: int, of: str, what: str) -> Callable[[int], None]:
    began = told = monotonic()

    def tell(done: int) -> None:
        nonlocal told
        now = monotonic()
        if now - told < _EVERY_SECONDS:
            return
        told = now
        rate = done / (now - began)
        left = f", {max(0, total - done) / rate:,.0f} s left" if rate else ""
        output.say(f"{what}{': ' if what else ''}{done:,} of {total:,} {of}, {rate:,.0f} a second{left}")

    return tell


def _nothing(_: int) -> None:
    pass


class _Rate(ProgressColumn):
    """How many a second."""

    def __init__(self, of: str) -> None:
        super().__init__()
        self._of = of

    def render(self, task: Task) -> Text:
        """As the library wants it."""
        return Text(f"{task.finished_speed or task.speed or 0:,.0f} {self._of}/s")
