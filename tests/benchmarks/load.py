"""Load over HTTP/1.1 from this one process: so many connections, each with one request under way.

The client does no more than it must, because it runs on the same machine: it looks for the status and the length.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import cast

import psutil

from infra.local.ports import LOOPBACK
from infra.local.process import until
from tests.benchmarks.rounds import percentile

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_OK = b"200"
_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.01


@dataclass(slots=True)
class Answers:
    """What came back within the measured time."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds."""
    errors: int = 0
    """Answers other than 200, and connections that ended; of the warm-up too."""
    busy: tuple[float, ...] = ()
    """Seconds of processor time that each of the watched processes took meanwhile."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def microseconds(self, watched: int = 0) -> float:
        """Processor time of one of the watched processes for each answer."""
        return self.busy[watched] / len(self.latencies) * 1e6

    def percentile(self, percent: float) -> float:
        """Milliseconds that so many answers took at the most."""
        return percentile(self.latencies, percent) * 1000


@dataclass(slots=True)
class Load:
    """One kind of request against one server."""

    port: int
    request: bytes
    connections: int
    watched: Sequence[int] = ()
    """Processes whose processor time is counted."""
    interval: float | None = None
    """Seconds between two requests of a connection; None: the next follows the answer."""

    async def run(self, seconds: float, *, requests: int | None = None, warm_up: float = 0.5) -> Answers:
        """Load it for so long, or until it has given so many answers."""
        answers = Answers()
        loop = asyncio.get_running_loop()
        connections = [_Connection(self, answers) for _ in range(self.connections)]
        for connection in connections:
            await loop.create_connection(partial(_itself, connection), LOOPBACK, self.port)
        for number, connection in enumerate(connections):
            delay = 0.0 if self.interval is None else self.interval * number / self.connections
            loop.call_later(delay, connection.fire)
        await asyncio.sleep(warm_up)
        answers.latencies.clear()
        busy, began = self._busy(), perf_counter()

        async def enough() -> bool:
            return requests is not None and len(answers.latencies) >= requests

        await until(enough, seconds, every=_LOOK_SECONDS)
        answers.seconds = perf_counter() - began
        answers.busy = tuple(after - before for before, after in zip(busy, self._busy(), strict=True))
        for connection in connections:
            connection.last = True
        measured = len(answers.latencies)

        async def answered() -> bool:
            return not any(connection.waiting for connection in connections)

        if not await until(answered, _PATIENCE_SECONDS):
            answers.errors += sum(connection.waiting for connection in connections)
        del answers.latencies[measured:]
        for connection in connections:
            connection.close()
        return answers

    def _busy(self) -> list[float]:
        return [busy(pid) for pid in self.watched]


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load, answers: Answers) -> None:
        self._load = load
        self._answers = answers
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._sent = 0.0
        self.waiting = False
        self.last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def fire(self) -> None:
        if self.last or self._transport is None:
            return
        self.waiting = True
        self._sent = perf_counter()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        head = self._received.find(_END)
        if head < 0:
            return
        start = self._received.lower().find(_LENGTH, 0, head) + len(_LENGTH)
        length = int(self._received[start : self._received.find(b"\r", start)])
        if len(self._received) < head + len(_END) + length:
            return
        self._answers.errors += self._received[9:12] != _OK
        self._answers.latencies.append(perf_counter() - self._sent)
        self._received = b""
        self.waiting = False
        if self._load.interval is None:
            self.fire()
        else:
            due = max(0.0, self._sent + self._load.interval - perf_counter())
            asyncio.get_running_loop().call_later(due, self.fire)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        if not self.last or self.waiting:
            self._answers.errors += 1
        self.waiting = False
        self._transport = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _itself(connection: _Connection) -> _Connection:
    return connection


def post(port: int, path: str, body: str, authorization: str) -> bytes:
    """The bytes of a form that is sent."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def busy(pid: int) -> float:
    """Seconds of processor time that a process and its children have taken."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(times.user + times.system for times in (one.cpu_times() for one in family))
    except psutil.NoSuchProcess:
        return 0.0


@contextmanager
def pinned() -> Iterator[None]:
    """This process on one processor, the last, so that what it loads has the others."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if len(allowed) < 2:
        yield
        return
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
