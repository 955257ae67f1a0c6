"""Keeps the parts of a system running: what ends without being told to is started again, with growing patience."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from infra.local.failure import SystemFailure

_WINDOW_SECONDS = 30.0
_TOO_OFTEN = 3
"""So many ends within the window, while starting up, are the end of the attempt."""
_FIRST_DELAY_SECONDS = 0.25
_LONGEST_DELAY_SECONDS = 10.0


class Part(Protocol):
    """A process, or a server with processes of its own, of the local system."""

    @property
    def name(self) -> str:
        """What the person at the terminal calls it."""

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""

    @property
    def exit_status(self) -> int | None:
        """What it ended with, where that is known."""

    def last_words(self) -> str:
        """The end of its log."""

    async def start(self) -> None:
        """Start it; nothing happens if it runs."""

    async def stop(self) -> None:
        """End it in an orderly way."""

    async def kill(self) -> None:
        """End it at once."""

    def pause(self) -> None:
        """Hold it where it is."""

    def resume(self) -> None:
        """Let it go on."""


@dataclass
class _Ends:
    """When a part ended, lately; and when to start it again."""

    times: list[float] = field(default_factory=list)
    due: float | None = None


class Tending:
    """Watches parts that are wanted running."""

    def __init__(self) -> None:
        self._wanted: dict[str, Part] = {}
        self._ends: dict[str, _Ends] = {}

    def want(self, part: Part) -> None:
        """Keep it running from now on."""
        self._wanted[part.name] = part
        self._ends[part.name] = _Ends()

    def leave(self, parts: Iterable[Part]) -> None:
        """Whatever becomes of them is meant."""
        for part in parts:
            self._wanted.pop(part.name, None)

    async def look(self, *, starting: bool = False) -> list[str]:
        """Start again what has ended and is due; answers a line for each end that is new.

        While the system is `starting`, a part that ends too often raises `SystemFailure` with its last words.
        """
        lines = []
        now = time.monotonic()
        for part in list(self._wanted.values()):
            ends = self._ends[part.name]
            if part.running:
                continue
            if ends.due is None:
                ends.times = [at for at in ends.times if now - at < _WINDOW_SECONDS] + [now]
                if starting and len(ends.times) >= _TOO_OFTEN:
                    raise SystemFailure(f"{part.name} does not start. Its last words:\n{part.last_words()}")
                delay = min(_FIRST_DELAY_SECONDS * 2 ** (len(ends.times) - 1), _LONGEST_DELAY_SECONDS)
                ends.due = now + delay
                lines.append(f"{part.name} ended ({_how(part.exit_status)}) and is started again")
            if now >= ends.due:
                ends.due = None
                try:
                    await part.start()
                except SystemFailure as failure:
                    if starting:
                        raise
                    lines.append(str(failure))
        return lines


def _how(status: int | None) -> str:
    if status is None:
        return "no exit status"
    return f"signal {-status}" if status < 0 else f"exit status {status}"
