"""P4 and P9: what a token costs, durable and on the record, beside one that is only signed; and in a log that grows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console

from tests.benchmarks.load import Answers, pinned
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result, Target
from tests.benchmarks.rounds import Spread
from tests.benchmarks.stage import IssuerAlone, Server, yardstick

CONNECTIONS = (32, 128)
SHARES = {32: 0.51, 128: 0.73}
"""Of a bare handler's rate: 0.8 of what a prototype with one durable event for each token reached."""
PEER = 0.62
"""What `oidc-provider` (certified, all in memory) reached of a bare handler, with 32 connections."""
_SMALL = 20_000
_REQUESTS = 1_000
"""Of one round in a log that should not grow much by being measured."""


@dataclass(slots=True)
class Pair:
    """Two servers, loaded in turn."""

    one: list[Answers] = field(default_factory=list)
    other: list[Answers] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Of both."""
        return sum(answers.errors for answers in (*self.one, *self.other))


async def in_turn(
    one: Server, other: Server, connections: int, options: Options, *watched: int, requests: int | None = None
) -> Pair:
    """A B A B; `watched` are processes beside the servers' own."""
    pair = Pair()
    with pinned():
        for _ in range(options.rounds):
            for server, found in ((one, pair.one), (other, pair.other)):
                load = server.load(connections, *watched)
                found.append(await load.run(options.seconds, requests=requests))
    return pair


async def tokens(options: Options, console: Console) -> list[Result]:
    """P4: client credentials, one service process, nothing else on the machine but what it needs."""
    results: list[Result] = []
    async with IssuerAlone() as alone:
        issuer = await alone.issuer("stagedoor")
        async with yardstick(alone.folder) as bare:
            for connections in CONNECTIONS:
                console.print(f"  P4: {connections} connections")
                pair = await in_turn(bare, issuer, connections, options, alone.postgres.pid)
                results += _compared(connections, pair)
    return results


def _compared(connections: int, pair: Pair) -> list[Result]:
    what = f"client credentials, {connections} connections"
    rates, bare = _rates(pair.other), _rates(pair.one)
    ratio = Spread.ratio(rates, bare)
    found, baseline = Spread.of(rates), Spread.of(bare)
    shares = [(SHARES[connections], "0.8 of the prototype")] + ([(PEER, "the peer")] if connections == 32 else [])
    results = [
        Result.of(
            "P4",
            f"{what}, beside a bare handler ({whose})",
            "per s",
            found,
            baseline=baseline,
            ratio=ratio,
            target=Target(">=", share, "ratio"),
            errors=pair.errors,
        )
        for share, whose in shares
    ]
    for percent, target in ((50.0, None), (99.0, Target("<", 50))):
        spread = Spread.of([answers.percentile(percent) for answers in pair.other])
        beside = Spread.of([answers.percentile(percent) for answers in pair.one])
        results.append(
            Result.of("P4", f"{what}: p{percent:.0f}", "ms", spread, baseline=beside, target=target, errors=pair.errors)
        )
    for place, whose in enumerate(("the service's", "PostgreSQL's")):
        spread = Spread.of([answers.microseconds(place) for answers in pair.other])
        base = Spread.of([answers.microseconds(place) for answers in pair.one]) if place == 0 else None
        results.append(Result.of("P4", f"{what}: {whose} processor time", "µs", spread, baseline=base))
    return results


async def growth(options: Options, console: Console) -> list[Result]:
    """P9: the same in a small log and in a large one."""
    events = options.log_size
    async with IssuerAlone() as alone:
        console.print(f"  P9: filling one log with {_SMALL:,} events and one with {events:,}")
        small = await alone.issuer("small", events=_SMALL)
        large = await alone.issuer("large", events=events)
        pair = await in_turn(small, large, 32, options, requests=_REQUESTS)
    costs = [[1e6 / answers.rate for answers in found] for found in (pair.one, pair.other)]
    busy = [[answers.microseconds() for answers in found] for found in (pair.one, pair.other)]
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
            errors=pair.errors,
        ),
        Result.of("P9", f"{what}: the service's processor time", "µs", Spread.of(busy[1]), baseline=Spread.of(busy[0])),
    ]


def _rates(found: Sequence[Answers]) -> list[float]:
    return [answers.rate for answers in found]
