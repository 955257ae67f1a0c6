"""P4 and P9: what a token costs, durable and on the record, beside one that is only signed; and in a log that grows."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from rich.console import Console

from tests.benchmarks.load import Answers, pinned
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result, Target
from tests.benchmarks.rounds import Spread
from tests.benchmarks.stage import IssuerAlone, Server, peer, yardstick

CONNECTIONS = (32, 128)
SHARES = {32: 0.51, 128: 0.73}
"""Of a bare handler's rate: 0.8 of what a prototype with one durable event for each token reached."""
_SMALL = 20_000
_REQUESTS = 1_000
"""Of one round in a log that should not grow much by being measured."""


async def in_turn(
    servers: Sequence[Server], connections: int, options: Options, *watched: int, requests: int | None = None
) -> list[list[Answers]]:
    """A B A B: what each answered; `watched` are processes beside the servers' own."""
    found: list[list[Answers]] = [[] for _ in servers]
    with pinned():
        for _ in range(options.rounds):
            for server, answers in zip(servers, found, strict=True):
                answers.append(await server.load(connections, *watched).run(options.seconds, requests=requests))
    return found


async def tokens(options: Options, console: Console) -> list[Result]:
    """P4: client credentials, one service process, nothing else on the machine but what it needs."""
    results: list[Result] = []
    async with IssuerAlone() as alone, AsyncExitStack() as beside:
        issuer = await alone.issuer("stagedoor")
        servers = [issuer, await beside.enter_async_context(yardstick(alone.folder))]
        if options.peer:
            servers.append(await beside.enter_async_context(peer(alone.folder)))
        for connections in CONNECTIONS:
            console.print(f"  P4: {connections} connections")
            found = await in_turn(servers, connections, options, alone.postgres.pid)
            results += _compared(connections, *found)
    return results


def _compared(
    connections: int, own: Sequence[Answers], bare: Sequence[Answers], other: Sequence[Answers] = ()
) -> list[Result]:
    what = f"client credentials, {connections} connections"
    errors = _errors(own, bare, other)
    rates = _rates(own)
    yardsticks = [(bare, "a bare handler (0.8 of the prototype)", SHARES[connections])]
    yardsticks += [(other, "the peer", 1.0)] if other else []
    results = [
        Result.of(
            "P4",
            f"{what}, beside {whose}",
            "per s",
            Spread.of(rates),
            baseline=Spread.of(_rates(beside)),
            ratio=Spread.ratio(rates, _rates(beside)),
            target=Target(">=", share, "ratio"),
            errors=errors,
        )
        for beside, whose, share in yardsticks
    ]
    for percent, target in ((50.0, None), (99.0, Target("<", 50))):
        spread = Spread.of([answers.percentile(percent) for answers in own])
        base = Spread.of([answers.percentile(percent) for answers in bare])
        results.append(
            Result.of("P4", f"{what}: p{percent:.0f}", "ms", spread, baseline=base, target=target, errors=errors)
        )
    for place, whose in enumerate(("the service's", "PostgreSQL's")):
        spread = Spread.of([answers.microseconds(place) for answers in own])
        beside = Spread.of([answers.microseconds(place) for answers in bare]) if place == 0 else None
        results.append(Result.of("P4", f"{what}: {whose} processor time", "µs", spread, baseline=beside))
    return results


async def growth(options: Options, console: Console) -> list[Result]:
    """P9: the same in a small log and in a large one."""
    events = options.log_size
    async with IssuerAlone() as alone:
        console.print(f"  P9: filling one log with {_SMALL:,} events and one with {events:,}")
        small = await alone.issuer("small", events=_SMALL)
        large = await alone.issuer("large", events=events)
        found = await in_turn((small, large), 32, options, requests=_REQUESTS)
    costs = [[1e6 / rate for rate in _rates(answers)] for answers in found]
    busy = [[one.microseconds() for one in answers] for answers in found]
    what = f"issuing with {events:,} events in the log, beside {_SMALL:,}"
    return [
        Result.of(
            "P9",
            f"{what}: time for a token, 32 connections",
            "µs",
            Spread.of(costs[1]),
            baseline=Spread.of(costs[0]),
            ratio=Spread.ratio(costs[1], costs[0]),
            target=Target("<=", 1.1, "ratio"),
            errors=_errors(*found),
        ),
        Result.of("P9", f"{what}: the service's processor time", "µs", Spread.of(busy[1]), baseline=Spread.of(busy[0])),
    ]


def _rates(found: Sequence[Answers]) -> list[float]:
    return [answers.rate for answers in found]


def _errors(*found: Sequence[Answers]) -> int:
    return sum(one.errors for answers in found for one in answers)
