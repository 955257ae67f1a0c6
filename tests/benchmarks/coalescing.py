"""P13: online questions of many callers at once, on one stream of batches, beside each by itself.

    python -m tests.benchmarks.coalescing ADDRESS        serves the other side: it answers, and checks nothing

The other side is an empty handler in a process of its own, so the figure is that of the SDK's client and of gRPC.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import perf_counter, process_time

import uvloop
from grpc import aio
from rich.console import Console

from stagedoor.grpc import GrpcOnline
from stagedoor.validation.v1 import validation_pb2 as messages
from stagedoor.validation.v1.validation_pb2_grpc import (
    ValidationServicer,
    ValidationStub,
    add_ValidationServicer_to_server,
)
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result
from tests.benchmarks.rounds import Spread, percentile
from tests.support.ports import free_port

_CALLERS = (256, 1024)
_ALONE = 256
"""Callers that ask each by itself."""
_TOKEN = "x" * 600
_AUDIENCE = "https://api.example.com/api"

Ask = Callable[[], Awaitable[bool]]


class _Yes(ValidationServicer):
    """Allows everything."""

    async def Validate(  # noqa: N802  (the name is the protocol's)
        self, request: messages.ValidateRequest, _: object
    ) -> messages.ValidateResponse:
        return messages.ValidateResponse(allowed=bool(request.token), position=1)

    async def ValidateBatch(  # noqa: N802  (as above)
        self, request: messages.ValidateBatchRequest, _: object
    ) -> messages.ValidateBatchResponse:
        return messages.ValidateBatchResponse(
            responses=[messages.ValidateResponse(allowed=bool(one.token), position=1) for one in request.requests]
        )

    async def ValidateStream(  # noqa: N802  (as above)
        self, requests: AsyncIterator[messages.ValidateBatchRequest], _: object
    ) -> AsyncIterator[messages.ValidateBatchResponse]:
        async for batch in requests:
            yield await self.ValidateBatch(batch, None)

    async def WatchDenials(  # noqa: N802  (as above)
        self, request: messages.WatchDenialsRequest, _: object
    ) -> AsyncIterator[messages.WatchDenialsResponse]:
        beat = messages.Heartbeat(position=1, number=request.after_number, epoch=1)
        yield messages.WatchDenialsResponse(heartbeat=beat)


async def _serve(address: str) -> None:
    server = aio.server()
    add_ValidationServicer_to_server(_Yes(), server)
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


@asynccontextmanager
async def _served() -> AsyncIterator[aio.Channel]:
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.coalescing", address, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 20)
        async with aio.insecure_channel(address) as channel:
            yield channel
    finally:
        process.terminate()
        await process.wait()


async def coalescing(options: Options, console: Console) -> list[Result]:
    """P13: how many questions a second, and how long each takes."""
    console.print(f"  P13: {', '.join(map(str, _CALLERS))} callers")
    async with _served() as channel:
        online, stub = GrpcOnline(channel, timeout=10), ValidationStub(channel)

        async def together() -> bool:
            answer = await online.validate(_TOKEN, audience=_AUDIENCE, scopes=(), min_position=0)
            return answer.allowed

        async def alone() -> bool:
            request = messages.ValidateRequest(token=_TOKEN, audience=_AUDIENCE)
            return (await stub.Validate(request, timeout=10)).allowed

        found: list[Result] = []
        seconds = min(1.0, options.seconds)
        await _load(alone, _ALONE, 0.2)
        for callers in _CALLERS:
            rounds, single = [], []
            for _ in range(options.rounds):
                rounds.append(await _load(together, callers, seconds))
                single.append(await _load(alone, _ALONE, seconds))
            found += _results(callers, rounds, single)
        await online.close()
    return found


def _results(callers: int, rounds: Sequence["_Load"], single: Sequence["_Load"]) -> list[Result]:
    what = f"online questions of {callers:,} callers on one stream"
    rates, alone = [each.rate for each in rounds], [each.rate for each in single]
    return [
        Result.of(
            "P13",
            f"{what}, beside {_ALONE} callers who ask each by itself",
            "per s",
            Spread.of(rates),
            baseline=Spread.of(alone),
            ratio=Spread.ratio(rates, alone),
            errors=sum(each.errors for each in (*rounds, *single)),
        ),
        Result.of("P13", f"{what}: p50", "ms", Spread.of([percentile(each.times, 50) for each in rounds])),
        Result.of("P13", f"{what}: p99", "ms", Spread.of([percentile(each.times, 99) for each in rounds])),
        Result.of(
            "P13",
            f"{what}: processor time of the process that asks, for each",
            "µs",
            Spread.of([each.processor for each in rounds]),
            baseline=Spread.of([each.processor for each in single]),
        ),
    ]


class _Load:
    """What one round of callers who ask again and again found."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.errors = 0
        self.rate = 0.0
        self.processor = 0.0


async def _load(ask: Ask, callers: int, seconds: float) -> _Load:
    found = _Load()
    end = perf_counter() + seconds

    async def caller() -> None:
        while (began := perf_counter()) < end:
            found.errors += not await ask()
            found.times.append((perf_counter() - began) * 1000)

    began, processor = perf_counter(), process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    found.rate = len(found.times) / (perf_counter() - began)
    found.processor = (process_time() - processor) / len(found.times) * 1e6
    return found


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
