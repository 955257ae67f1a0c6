"""P3: what a verdict over gRPC costs, beside an empty handler with the same messages.

Both servers are processes of their own, asked in turn by one client over mutual TLS. What is compared is the processor
time of the server for each token: it decides how many it can answer, and does not depend on the client's own pace.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import httpx
from rich.console import Console

from infra.local import services
from infra.local.certificates import Authority
from infra.local.ports import LOOPBACK
from infra.local.process import Process, until
from shared.rpc.client import channel
from shared.rpc.tls import Tls
from stagedoor.validation.v1 import validation_pb2 as pb
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub
from tests.benchmarks.bare_rpc import BATCH
from tests.benchmarks.load import busy, pinned
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result, Target
from tests.benchmarks.rounds import Spread
from tests.benchmarks.stage import CALLER, SCOPE, IssuerAlone, Server
from tests.support.ports import free_port

_TOKENS = 256
_CALLS = {"unary": 64, "batch": 8, "stream": 8}
"""Under way at once."""
_TARGETS = {"unary": 0.7, "batch": 0.6, "stream": 0.6}
_READY_SECONDS = 30.0


@dataclass(slots=True)
class _Found:
    """The rounds of one server."""

    microseconds: list[float] = field(default_factory=list)
    """Of the server's processor time for each token."""
    rates: list[float] = field(default_factory=list)
    """Tokens a second."""
    errors: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A server, and what it is asked."""

    pid: int
    stub: Any
    questions: Sequence[pb.ValidateRequest]
    batches: Sequence[pb.ValidateBatchRequest]

    async def unary(self, number: int, over: Callable[[], bool]) -> tuple[int, int]:
        """One after the other; how many tokens, and how many of them were not allowed."""
        asked = wrong = 0
        while not over():
            answer = await self.stub.Validate(self.questions[(number + asked) % len(self.questions)], timeout=10)
            asked, wrong = asked + 1, wrong + (not answer.allowed)
        return asked, wrong

    async def batch(self, number: int, over: Callable[[], bool]) -> tuple[int, int]:
        """The same, `BATCH` at a time."""
        asked = wrong = 0
        while not over():
            answer = await self.stub.ValidateBatch(self.batches[number % len(self.batches)], timeout=10)
            asked, wrong = asked + BATCH, wrong + sum(not one.allowed for one in answer.responses)
        return asked, wrong

    async def stream(self, number: int, over: Callable[[], bool]) -> tuple[int, int]:
        """The same on one stream, the next batch after the answer."""
        asked = wrong = 0
        call = self.stub.ValidateStream(timeout=60)
        while not over():
            await call.write(self.batches[number % len(self.batches)])
            answer = await call.read()
            asked, wrong = asked + BATCH, wrong + sum(not one.allowed for one in answer.responses)
        await call.done_writing()
        return asked, wrong

    async def run(self, kind: str, seconds: float, found: _Found) -> None:
        """One round."""
        ask: Callable[[int, Callable[[], bool]], Awaitable[tuple[int, int]]] = getattr(self, kind)
        began, before = perf_counter(), busy(self.pid)
        counts = await asyncio.gather(
            *(ask(number, lambda: perf_counter() - began >= seconds) for number in range(_CALLS[kind]))
        )
        took, spent = perf_counter() - began, busy(self.pid) - before
        asked = sum(count for count, _ in counts)
        found.microseconds.append(spent / asked * 1e6)
        found.rates.append(asked / took)
        found.errors += sum(wrong for _, wrong in counts)


async def validation(options: Options, console: Console) -> list[Result]:
    """P3: `Validate`, `ValidateBatch` and `ValidateStream`."""
    results: list[Result] = []
    async with IssuerAlone() as alone:
        issuer = await alone.issuer("stagedoor")
        if issuer.ports is None:
            raise TypeError("a whole service has ports")
        authority = Authority(alone.home.certificates)
        shown = authority.resource(CALLER)
        tls = Tls.read_files(authority.certificate, shown.certificate, shown.key)
        questions = [
            pb.ValidateRequest(token=token, audience=f"{issuer.ports.origin}/api", scopes=[SCOPE])
            for token in await _tokens(issuer, _TOKENS)
        ]
        batches = [
            pb.ValidateBatchRequest(requests=questions[start : start + BATCH]) for start in range(0, _TOKENS, BATCH)
        ]
        async with _empty(alone, authority) as (bare, port):
            there = channel(f"{LOOPBACK}:{port}", tls, "token_issuer")
            here = channel(issuer.ports.grpc_address("token_issuer"), tls, "token_issuer")
            one = _Asked(bare.pid, ValidationStub(there), questions, batches)
            other = _Asked(issuer.process.pid, ValidationStub(here), questions, batches)
            with pinned():
                for kind in _CALLS:
                    console.print(f"  P3: {kind}")
                    results += await _compared(kind, one, other, options)
            await asyncio.gather(there.close(None), here.close(None))
    return results


async def _compared(kind: str, one: _Asked, other: _Asked, options: Options) -> list[Result]:
    warm_up, base, found = _Found(), _Found(), _Found()
    for asked in (one, other):
        await asked.run(kind, 0.5, warm_up)
    for _ in range(options.rounds):
        await one.run(kind, options.seconds, base)
        await other.run(kind, options.seconds, found)
    what = f"{kind}{'' if kind == 'unary' else f' of {BATCH}' if kind == 'batch' else f' of batches of {BATCH}'}"
    errors = warm_up.errors + base.errors + found.errors
    capacity = [1e6 / each for each in found.microseconds]
    bare = [1e6 / each for each in base.microseconds]
    return [
        Result.of(
            "P3",
            f"{what}: tokens for a second of processor time, beside an empty handler",
            "per s",
            Spread.of(capacity),
            baseline=Spread.of(bare),
            ratio=Spread.ratio(capacity, bare),
            target=Target(">=", _TARGETS[kind], "ratio"),
            errors=errors,
        ),
        Result.of(
            "P3",
            f"{what}: tokens a second with this client, {_CALLS[kind]} calls at once",
            "per s",
            Spread.of(found.rates),
            baseline=Spread.of(base.rates),
            ratio=Spread.ratio(found.rates, base.rates),
            errors=errors,
        ),
    ]


async def _tokens(issuer: Server, count: int) -> list[str]:
    """Tokens as applications get them."""
    head, _, body = issuer.request.partition(b"\r\n\r\n")
    headers = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:])
    path = head.split(b" ", 2)[1].decode()
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://{LOOPBACK}:{issuer.port}") as client:
        answers = [await client.post(path, content=body, headers=headers) for _ in range(count)]
    return [answer.raise_for_status().json()["access_token"] for answer in answers]


@asynccontextmanager
async def _empty(alone: IssuerAlone, authority: Authority) -> AsyncIterator[tuple[Process, int]]:
    """The empty handlers in a process of their own, and their port."""
    port, shown = free_port(), authority.service("token_issuer")
    files = (authority.certificate, shown.certificate, shown.key)
    command = [sys.executable, "-P", "-m", "tests.benchmarks.bare_rpc", str(port), *map(str, files)]
    process = Process("bare_rpc", command, services.python_environment(), alone.folder / "bare_rpc.log")
    await process.start()

    async def serving() -> bool:
        return await Server(process, port, b"").serving() or not process.running

    try:
        if not await until(serving, _READY_SECONDS) or not process.running:
            raise RuntimeError(f"the yardstick does not start: {process.last_words()}")
        yield process, port
    finally:
        await process.stop()
