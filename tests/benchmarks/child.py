"""A program of the benchmarks in a process of its own, which is asked and answers in lines of JSON.

It reads its settings from the first line of its input, says `{}` when it is ready, and then answers each line with one.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

from infra.local import services

_READY_SECONDS = 90.0
_ANSWER_SECONDS = 60.0
_LINE = 1 << 24
"""The longest question or answer, in bytes."""

Answer = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Child:
    """One such process, as its parent sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asking = asyncio.Lock()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @classmethod
    async def start(cls, module: str, settings: Mapping[str, Any]) -> Self:
        """Begin one; it is of use after `ready`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=services.python_environment(),
            limit=_LINE,
        )
        child = cls(process)
        await child._say(settings)
        return child

    async def ready(self) -> None:
        """Wait until it is."""
        await self._hear(_READY_SECONDS)

    async def ask(self, do: str, **more: Any) -> Any:
        """One question, one answer."""
        async with self._asking:
            await self._say({"do": do, **more})
            return await self._hear(_ANSWER_SECONDS)

    async def stop(self) -> None:
        """End it."""
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()

    async def _say(self, what: Mapping[str, Any]) -> None:
        if self._process.stdin is None:
            raise TypeError("it has an input")
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        await self._process.stdin.drain()

    async def _hear(self, seconds: float) -> Any:
        if self._process.stdout is None:
            raise TypeError("it has an output")
        line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
        if not line:
            raise RuntimeError("a process of the benchmark has ended")
        return json.loads(line)


async def questions() -> asyncio.StreamReader:
    """In the child: its input."""
    reader = asyncio.StreamReader(limit=_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def answers(reader: asyncio.StreamReader, answer: Answer) -> None:
    """In the child: say that it is ready, and answer until the input ends."""
    print("{}", flush=True)
    while line := await reader.readline():
        print(json.dumps(await answer(json.loads(line))), flush=True)
