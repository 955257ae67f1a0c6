"""P6: from the acknowledgement that something was taken back until separate processes refuse the tokens concerned."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from grpc.aio import AioRpcError
from rich.console import Console

from infra.local.process import until
from infra.local.system import System
from shared.errors import Refusal
from tests.benchmarks.child import Child
from tests.benchmarks.guards import Guards, guards
from tests.benchmarks.legs import Legs
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result, Target
from tests.benchmarks.rounds import Spread, percentile
from tests.benchmarks.victims import FAILURES, KINDS, Victim, Victims, patiently
from tests.support.outside import Outside
from tests.support.ports import free_ports
from tests.support.system import new_folder

GUARDS = 8
"""Fed over NATS; one more is fed over gRPC."""
RATE = 200
"""Tokens that are given each second meanwhile."""
BOUND = 5.0
"""`max_staleness` of the guards here, in seconds: usually 30."""
_TURNS = 4
"""In a round."""
_EVERY_SECONDS = 0.025
_PATIENCE_SECONDS = 15.0
_LOOK_SECONDS = 0.2
_GONE = 40
"""Tokens taken back while NATS is gone."""
_KEYS = 3
"""How often a signing key is reported compromised: all tokens end with it."""
_KEYS_SECONDS = 40.0
"""A guard fetches keys every ten seconds at the most."""
_A_LOOK = 0.25
"""Seconds by which a busy process may be late to look at the time: what it did by then was done before."""


@dataclass(slots=True)
class Fate:
    """What became of one token."""

    victim: Victim
    sent: float = 0.0
    acknowledged: float = 0.0
    refused: dict[int, float] = field(default_factory=dict)
    """By each guard, when."""
    position: int = 0
    """Of the event that took it back, if a guard could say so."""

    def delays(self) -> list[float]:
        """Milliseconds from the acknowledgement to each refusal over NATS; 0 for one that came before it."""
        return [max(0.0, at - self.acknowledged) * 1000 for guard, at in self.refused.items() if guard < GUARDS]


@dataclass(slots=True)
class Round:
    """What one round has shown."""

    fates: list[Fate] = field(default_factory=list)
    legs: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def slowest(self) -> list[float]:
        """Milliseconds until the last of the guards refused, for each token."""
        return [max(fate.delays()) for fate in self.fates if len(fate.delays()) == GUARDS]

    def each(self) -> list[float]:
        """Milliseconds until a guard refused, for each token and guard."""
        return [delay for fate in self.fates for delay in fate.delays()]

    def from_sending(self) -> list[float]:
        """Milliseconds from the request until the last guard refused."""
        return [
            (max(at for guard, at in fate.refused.items() if guard < GUARDS) - fate.sent) * 1000
            for fate in self.fates
            if len(fate.delays()) == GUARDS
        ]

    def by_grpc(self) -> list[float]:
        """Milliseconds from the acknowledgement until the guard fed over gRPC refused."""
        return [
            max(0.0, fate.refused[GUARDS] - fate.acknowledged) * 1000 for fate in self.fates if GUARDS in fate.refused
        ]


@dataclass(frozen=True, slots=True)
class Outage:
    """What happened while NATS was gone."""

    seconds: float
    accepted_last: float
    """The longest that a token was accepted after it was acknowledged to be taken back, in seconds."""
    by_grpc: Sequence[float]
    """Milliseconds until the guard refused that is fed over gRPC."""
    whole_after: float
    """Seconds from the return of NATS until every guard refused everything for good, and accepted what is good."""


async def revocations(options: Options, console: Console) -> list[Result]:
    """P6: about 400 tokens a round, each watched by all guards before it is taken back."""
    console.print(f"  P6: {GUARDS} guards over NATS and one over gRPC, {RATE} tokens/s")
    folder = new_folder()
    try:
        async with System(folder, ports=free_ports()) as system, _bench(system) as bench:
            rounds: list[Round] = []
            outage: Outage | None = None
            for number in range(options.rounds):
                if number == options.rounds // 2:
                    outage = await bench.outage()
                rounds.append(await bench.round())
                console.print(f"    round {number + 1}: {_words(rounds[-1])}")
            await bench.audit()
            keys = await bench.keys()
            poured = await bench.pouring.ask("report")
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    for problem in bench.problems[:20]:
        console.print(f"    {problem}")
    if outage is None:
        raise TypeError("there is a round, and an outage before one of them")
    console.print(f"    meanwhile {poured['tokens']:,} tokens, p99 {poured['p99']:.1f} ms, {poured['errors']} errors")
    return _results(rounds, outage, keys, len(bench.problems) + poured["errors"])


@asynccontextmanager
async def _bench(system: System) -> AsyncIterator["Bench"]:
    app = next(one for one in system.demo["applications"] if "client_credentials" in one["grants"])
    settings = {
        "port": system.ports.http("token_issuer"),
        "client_id": app["client_id"],
        "secret": app["client_secret"],
    }
    listening = {"database": system.postgres.dsn(), "password": system.postgres.password, "nats": system.demo["nats"]}
    feeds = ["nats"] * GUARDS
    async with Outside(system) as outside, guards(system, *feeds, "grpc", max_staleness=BOUND) as watching:  # type: ignore[arg-type]  # they are the words
        pouring = await Child.start("tests.benchmarks.pouring", {**settings, "rate": RATE})
        try:
            overhearing = await Child.start("tests.benchmarks.overhearing", listening)
            try:
                await asyncio.gather(pouring.ready(), overhearing.ready())
                async with Legs.open(listening["database"], listening["password"]) as legs:
                    yield Bench(system, outside, watching, pouring, overhearing, legs)
            finally:
                await overhearing.stop()
        finally:
            await pouring.stop()


class Bench:
    """Everybody who takes part."""

    def __init__(
        self, system: System, outside: Outside, watching: Guards, pouring: Child, overhearing: Child, legs: Legs
    ) -> None:
        self.pouring = pouring
        self.problems: list[str] = []
        """What should not have been; each counts as an error."""
        self._system = system
        self._outside = outside
        self._guards = watching
        self._overhearing = overhearing
        self._legs = legs
        self._victims = Victims(outside)

    async def round(self) -> Round:
        """Take back some of every kind."""
        found = Round()
        for _ in range(_TURNS):
            victims = await self._victims.turn()
            await self._overhearing.ask("report")
            fates = await self._take_back(victims)
            heard = await self._overhearing.ask("report")
            for name, values in (await self._legs.of(fates, heard, GUARDS)).items():
                found.legs[name] += values
            found.fates += fates
        return found

    async def _take_back(self, victims: Sequence[Victim]) -> list[Fate]:
        """Have them watched, take them back one after the other, and wait until every guard has refused them."""
        fates = {victim.name: Fate(victim) for victim in victims}
        await self._watch(victims)
        await self._carry_out(list(fates.values()), _EVERY_SECONDS)

        async def refused() -> bool:
            await self._report(fates)
            return all(len(fate.refused) == len(self._guards.each) for fate in fates.values())

        if not await until(refused, _PATIENCE_SECONDS, every=_LOOK_SECONDS):
            for fate in fates.values():
                missing = len(self._guards.each) - len(fate.refused)
                if missing:
                    self.problems.append(f"{fate.victim.kind}: {missing} guards did not refuse in time")
        return list(fates.values())

    async def _watch(self, victims: Sequence[Victim]) -> None:
        refused = await self._guards.watch({victim.name: victim.token for victim in victims})
        self.problems += ["a good token was refused"] * refused

    async def _carry_out(self, fates: Sequence[Fate], every: float) -> None:
        async def one(fate: Fate) -> None:
            fate.sent = monotonic()
            try:
                await patiently(fate.victim.take_back)
            except FAILURES as failure:
                self.problems.append(f"{fate.victim.kind}: not acknowledged: {failure}")
            fate.acknowledged = monotonic()

        began = monotonic()
        tasks = []
        for number, fate in enumerate(fates):
            await asyncio.sleep(max(0.0, began + number * every - monotonic()))
            tasks.append(asyncio.create_task(one(fate)))
        await asyncio.gather(*tasks)

    async def _report(self, fates: Mapping[str, Fate], do: str = "report") -> list[Any]:
        """What the guards have seen meanwhile."""
        reports = await self._guards.ask(do)
        for guard, report in enumerate(reports):
            for name, (at, position, *_) in report["refused"].items():
                if name in fates:
                    fates[name].refused[guard] = at
                    fates[name].position = max(fates[name].position, position)
            self.problems += [f"guard {guard} accepted what it had refused: {name}" for name in report["accepted"]]
        return reports

    async def outage(self) -> Outage:
        """Take tokens back while NATS is gone, for longer than the bound; then it returns."""
        victims, good = await self._victims.simple(_GONE), await self._victims.good()
        fates = {victim.name: Fate(victim) for victim in victims}
        await self._watch(victims)
        self.problems += ["a good token was refused"] * await self._guards.watch({"good": good})
        gone = monotonic()
        await self._system.stop_part("nats")
        await self._carry_out(list(fates.values()), _EVERY_SECONDS)
        await asyncio.sleep(BOUND + 1)
        reports = await self._report(fates)
        longest = 0.0
        for guard, report in enumerate(reports):
            for name, at in report["allowed_at"].items():
                if name not in fates:
                    continue
                after = at - fates[name].acknowledged
                longest = max(longest, after)
                if after > BOUND + _A_LOOK or guard >= GUARDS:
                    self.problems.append(f"guard {guard} accepted {after:.2f} s after the acknowledgement")
        by_grpc = [max(0.0, fate.refused[GUARDS] - fate.acknowledged) * 1000 for fate in fates.values()
                   if GUARDS in fate.refused]  # fmt: skip
        await self._system.start_part("nats")
        back = monotonic()

        async def whole() -> bool:
            said = await self._report(fates)
            ready = all(report["ready"] and report["allowed_at"].get("good", 0.0) > back for report in said)
            return ready and all(len(fate.refused) == len(self._guards.each) for fate in fates.values())

        if not await until(whole, 2 * _PATIENCE_SECONDS, every=_LOOK_SECONDS):
            self.problems.append("the guards are not whole again after NATS has returned")
        whole_after = monotonic() - back
        await self._system.ready()
        return Outage(back - gone, longest, by_grpc, whole_after)

    async def audit(self) -> None:
        """Nothing that was refused is accepted now."""
        await self._report({}, "audit")

    async def keys(self) -> list[Fate]:
        """Report signing keys compromised, one after the other. What each signed ends, Brian's own token too."""
        fates = []
        for _ in range(_KEYS):
            victim = await self._victims.key()

            async def watched(victim: Victim = victim) -> bool:
                return await self._guards.watch({victim.name: victim.token}) == 0

            # The key that signed it is one that the guards have to fetch first.
            if not await until(watched, _KEYS_SECONDS, every=1.0):
                self.problems.append("a good token was refused")
            fate = Fate(victim)
            await self._carry_out([fate], 0)

            async def refused(fate: Fate = fate) -> bool:
                await self._report({fate.victim.name: fate})
                return len(fate.refused) == len(self._guards.each)

            if not await until(refused, _PATIENCE_SECONDS, every=_LOOK_SECONDS):
                self.problems.append(f"{victim.kind}: not every guard refused in time")
            if not await until(self._renewed, _KEYS_SECONDS, every=1.0):
                self.problems.append("Brian cannot go on after a signing key was compromised")
            fates.append(fate)
        return fates

    async def _renewed(self) -> bool:
        """Whether Brian has a token that counts: identity too has to fetch the new key first."""
        try:
            await self._outside.renew()
            await self._outside.register_service_user()
        except (Refusal, AioRpcError):
            return False
        return True


def _words(found: Round) -> str:
    slowest = found.slowest()
    return (
        f"{len(found.fates)} taken back; refused everywhere after p50 {percentile(slowest, 50):.1f},"
        f" p99 {percentile(slowest, 99):.1f}, at most {max(slowest):.1f} ms"
    )


def _results(rounds: Sequence[Round], outage: Outage, keys: Sequence[Fate], errors: int) -> list[Result]:
    every = [fate for found in rounds for fate in found.fates]
    what = f"acknowledged until refused in the slowest of {GUARDS} guards"

    def result(name: str, of: Sequence[Sequence[float]], percent: float, target: Target | None = None) -> Result:
        spread = Spread.of([percentile(values, percent) for values in of])
        return Result.of("P6", f"{name}: p{percent:g}", "ms", spread, target=target, errors=errors)

    slowest = [found.slowest() for found in rounds]
    whole = sorted(delay for delays in slowest for delay in delays)
    first = result(f"{what}, {len(every) + len(keys):,} of {len(KINDS) + 1} kinds", slowest, 50, Target("<", 5))
    found = [
        first.with_distribution(whole),
        result(what, slowest, 99, Target("<", 20)),
        Result.of("P6", f"{what}: the most", "ms", Spread.of([max(delays) for delays in slowest]), errors=errors),
        result(
            "acknowledged until refused, each guard by itself", [one.each() for one in rounds], 50
        ).with_distribution(sorted(delay for one in rounds for delay in one.each())),
        result("acknowledged until refused, each guard by itself", [one.each() for one in rounds], 99),
        result(
            "acknowledged until refused, a guard that is fed over gRPC", [one.by_grpc() for one in rounds], 50
        ).with_distribution(sorted(delay for one in rounds for delay in one.by_grpc())),
        result("acknowledged until refused, a guard that is fed over gRPC", [one.by_grpc() for one in rounds], 99),
        result(f"from the request until refused in the slowest of {GUARDS}", [o.from_sending() for o in rounds], 50),
        result(f"from the request until refused in the slowest of {GUARDS}", [o.from_sending() for o in rounds], 99),
        Result.of(
            "P6",
            "accepted after a refusal, not refused in time, or refused while good",
            "",
            Spread.of([float(errors)]),
            target=Target("<=", 0),
        ),
    ]
    for leg in rounds[0].legs:
        found += [result(f"of it, {leg}", [one.legs[leg] for one in rounds], percent) for percent in (50, 99)]
    found += _of_outage(outage, errors)
    for kind in [*KINDS, keys[0].victim.kind]:
        of_kind = [max(fate.delays()) for fate in (*every, *keys) if fate.victim.kind == kind and fate.delays()]
        found.append(Result.of("P6", f"{kind}, {len(of_kind)} times: p50", "ms", Spread.of(of_kind), errors=errors))
    return found


def _of_outage(outage: Outage, errors: int) -> list[Result]:
    gone = f"NATS gone for {outage.seconds:.0f} s"
    return [
        Result.of(
            "P6",
            f"{gone}: the longest that any guard accepted what was taken back meanwhile (max_staleness {BOUND:g} s)",
            "s",
            Spread.of([outage.accepted_last]),
            target=Target("<=", BOUND + _A_LOOK),
            errors=errors,
        ),
        Result.of(
            "P6",
            f"{gone}: from its return until every guard judges all by itself",
            "s",
            Spread.of([outage.whole_after]),
            errors=errors,
        ),
        Result.of(
            "P6",
            f"{gone}: acknowledged until refused in a guard that is fed over gRPC: p99",
            "ms",
            Spread.of([percentile(outage.by_grpc, 99)]),
            errors=errors,
        ),
    ]
