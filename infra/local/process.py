"""One child process: started on a leash, told to stop, killed, paused; its words go to a log file.

Nothing here belongs to an event loop, so a system that one loop started can be stopped by another.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from infra.local.failure import SystemFailure

_LEASH = Path(__file__).with_name("leash.py")
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02


async def until(condition: Callable[[], Awaitable[bool]], seconds: float, *, every: float = _POLL_SECONDS) -> bool:
    """Whether the condition came true within the time."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(every)
    return True


class Process:
    """A program of the local system. It may be started again after it ended."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = tuple(command)
        self._environment = dict(environment)
        self._child: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def pid(self) -> int:
        """The process id; the process has to be running."""
        if self._child is None:
            raise SystemFailure(f"{self.name} is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_status(self) -> int | None:
        """What it ended with (negative: the signal), None if it runs or was never started."""
        return self._child.poll() if self._child is not None else None

    async def start(self) -> None:
        """Start it, in a process group of its own: Ctrl-C at the terminal is for the supervisor alone."""
        if self.running:
            return
        leashed = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *self._command]
        with self.log.open("ab") as output:
            try:
                self._child = subprocess.Popen(  # noqa: ASYNC220  (it is looked at by polling, from any event loop)
                    leashed,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment,
                    cwd=self.log.parent,
                    process_group=0,
                )
            except OSError as failure:
                raise SystemFailure(f"{self.name} cannot be started: {failure.strerror}") from failure
        self._paused = False

    async def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Ask it to end, and end it by force if it does not within the time."""
        if self._paused:
            self.resume()
        self._signal(signal.SIGTERM)
        if not await until(self._ended, seconds):
            await self.kill()
        self._child = None

    def terminate(self) -> None:
        """Ask it to end, and wait for nothing."""
        self._signal(signal.SIGTERM)

    async def kill(self) -> None:
        """End it at once, with whatever it started in its group."""
        self._signal(signal.SIGKILL)
        await until(self._ended, _STOP_SECONDS)
        self._child = None

    def pause(self) -> None:
        """Hold it where it is, in the middle of anything."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)
        self._paused = False

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    async def _ended(self) -> bool:
        return not self.running

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.poll() is None:
            os.killpg(self._child.pid, number)
