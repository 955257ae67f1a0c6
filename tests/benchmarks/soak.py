"""P11: memory of every service, and of a guard, under a long load on every endpoint; what lags, and what is logged."""

import asyncio
import json
import re
import shutil
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from time import monotonic

import psutil
from rich.console import Console

from infra.local.ports import SERVICES
from infra.local.process import Process
from infra.local.system import System
from infra.local.tending import Part
from shared.rpc.client import channel
from shared.rpc.tls import Tls
from stagedoor.validation.v1 import validation_pb2 as pb
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub
from tests.benchmarks.guards import Guards, guards
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result, Target
from tests.benchmarks.rounds import Spread
from tests.support.behind import relay_behind, views_behind
from tests.support.command import stagedoor
from tests.support.outside import App, NotNow, Outside, Person
from tests.support.ports import free_ports
from tests.support.system import new_folder

_SETTINGS = {"STAGEDOOR_ACCESS_TOKEN_SECONDS": "60"}
"""So short that what has ended is forgotten, and made anew, many times over."""
_SECONDS_A_ROUND = 240.0
_SAMPLE_SECONDS = 5.0
_PEOPLE, _SERVICES = 4, 4
"""How many of each are at work."""
_REST_SECONDS = {"person": 0.4, "service": 0.15, "office": 5.0}
"""From the end of one course of things to the next."""
_COMMANDS = (
    ("apps", "list"),
    ("resources", "list"),
    ("users", "list"),
    ("tokens", "list"),
    ("keys", "list"),
    ("logouts", "list"),
    ("audit", "replay", "--limit", "50"),
    ("audit", "report", "applications"),
    ("audit", "checkpoint"),
)
"""What those do who manage and audit, in turn."""
_DATABASE_ERROR = re.compile(r"\b(?:ERROR|FATAL|PANIC):")
_BATCH = 20
_BOUND = 150
_FLAT = 5
"""Megabytes that a median may differ by without anything having grown."""
_MEGABYTE = 1e6

Work = Callable[[], Awaitable[None]]


async def soak(options: Options, console: Console) -> list[Result]:
    """P11: for four minutes a round, so for twenty usually."""
    seconds = options.soak_seconds or options.rounds * _SECONDS_A_ROUND
    console.print(f"  P11: {seconds / 60:.0f} minutes")
    folder = new_folder()
    try:
        async with (
            System(folder, ports=free_ports(), settings=_SETTINGS) as system,
            Outside(system) as outside,
            guards(system, "nats", max_staleness=30) as guard,
        ):
            load = _Load(system, outside, guard)
            sizes = await load.run(seconds, console if options.verbose else None)
            for told in [*await views_behind(system), *await relay_behind(system), *_errors_logged(system)]:
                load.failures[told] += 1
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    console.print("  P11: " + ", ".join(f"{count:,} {what}" for what, count in sorted(load.done.items())))
    for failure, count in load.failures.items():
        console.print(f"  P11: {count} times {failure}")
    errors = load.failures.total()
    return [result for name, found in sizes.items() for result in _results(name, found, seconds, errors)]


def _results(name: str, sizes: Sequence[float], seconds: float, errors: int) -> list[Result]:
    """The most that it took; and how much more it took in the last quarter than in the second one."""
    quarter = len(sizes) // 4
    second, last = sizes[quarter : 2 * quarter], sizes[-quarter:]
    growth = statistics.median(last) - statistics.median(second)
    what = f"memory of {name} in {seconds / 60:.0f} minutes"
    return [
        Result.of(
            "P11",
            f"{what}: the most",
            "MB",
            Spread(max(sizes), min(sizes), max(sizes), 1),
            target=Target("<", _BOUND),
            errors=errors,
        ),
        Result.of(
            "P11",
            f"{what}: the last quarter's median beside the second quarter's",
            "MB",
            Spread.of([growth]),
            target=Target("<", _FLAT),
            errors=errors,
        ),
    ]


class _Load:
    """Everybody at work."""

    def __init__(self, system: System, outside: Outside, guard: Guards) -> None:
        self._system = system
        self._outside = outside
        self._guard = guard
        self.done: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._merchsync = outside.demo_app("com.merchsync/service")
        self._hub = outside.demo_app()
        self._audience = system.demo["resources"][0]["identifier"]
        self._questions: list[pb.ValidateRequest] = []
        certificate = system.demo["validation_client"]
        tls = Tls.read_files(*(Path(path) for path in (system.demo["ca"], *certificate.values())))
        self._validation = ValidationStub(channel(system.ports.grpc_address("token_issuer"), tls, "token_issuer"))

    async def run(self, seconds: float, console: Console | None) -> Mapping[str, list[float]]:
        """Work for so long; answers the sizes, in megabytes, of each process."""
        people = [await self._outside.register_person() for _ in range(_PEOPLE)]
        end = monotonic() + seconds
        pids = {name: _pid(self._system.part(name)) for name in SERVICES} | {"a guard": self._guard.each[0].pid}
        sizes: dict[str, list[float]] = {name: [] for name in pids}
        work: list[Work] = [self._course_of(person) for person in people]
        rests = [_REST_SECONDS["person"]] * len(work) + [_REST_SECONDS["service"]] * _SERVICES
        work += [self._service] * _SERVICES
        work.append(self._office(cycle(_COMMANDS)))
        rests.append(_REST_SECONDS["office"])

        async def sample() -> None:
            began = monotonic()
            while monotonic() < end:
                for name, pid in pids.items():
                    sizes[name].append(_size(pid))
                if console is not None and len(sizes["ledger"]) % 12 == 1:
                    said = ", ".join(f"{name} {found[-1]:.1f}" for name, found in sizes.items())
                    console.print(
                        f"    {(monotonic() - began) / 60:4.1f} min: {said}; {sum(self.done.values()):,} done"
                    )
                await asyncio.sleep(_SAMPLE_SECONDS)

        await asyncio.gather(
            sample(), self._forgetting(end), *(self._again(*each, end) for each in zip(work, rests, strict=True))
        )
        self.failures += Counter()  # which drops what never happened
        return sizes

    async def _again(self, work: Work, rest: float, end: float) -> None:
        while monotonic() < end:
            try:
                await work()
            except NotNow:
                self.done["answers of 503"] += 1
            except Exception as failure:  # noqa: BLE001  (whatever it is, it is counted, and the load goes on)
                self.failures[f"{type(failure).__name__}: {str(failure)[:200]}"] += 1
            await asyncio.sleep(rest)

    async def _forgetting(self, end: float) -> None:
        """The guard forgets for its parent's sake; what it found out is looked at."""
        while monotonic() < end:
            await asyncio.sleep(min(10.0, max(0.1, end - monotonic())))
            (found,) = await self._guard.ask("forget")
            self.failures["the guard accepted what it had refused"] += len(found["accepted"])
            self.done["checks by the guard"] = found["checks"]

    def _course_of(self, person: Person) -> Work:
        async def course() -> None:
            """Sign in in a new browser, read, refresh twice, give a token back, sign out."""
            visitor = person.elsewhere()
            async with visitor:
                given = await person.use(self._hub, visitor)
                self.done["sign-ins"] += 1
                await self._reads("/api/tours", given.access_token)
                await self._reads("/id/connect/userinfo", given.access_token)
                refresh_token, access_token = given.refresh_token, given.access_token
                for _ in range(2):
                    said = await self._outside.token(self._hub, grant_type="refresh_token", refresh_token=refresh_token)
                    refresh_token, access_token = said["refresh_token"], said["access_token"]
                    self.done["refreshes"] += 1
                await self._guarded({access_token[-32:]: access_token})
                await person.sign_out(visitor, given)
                self.done["sign-outs"] += 1

        return course

    async def _service(self) -> None:
        """Get a token, ask about it in every way, give it back."""
        app = self._merchsync
        token = await self._outside.client_token(app)
        self.done["tokens by client credentials"] += 1
        await self._guarded({token[-32:]: token})
        await self._reads("/api/tours", token)
        await self._validated(token)
        await self._introspected(app, token, active=True)
        await self._outside.revoke(app, token)
        self.done["revocations"] += 1
        await self._introspected(app, token, active=False)

    def _office(self, commands: Iterator[tuple[str, ...]]) -> Work:
        async def course() -> None:
            """Look at what the issuer publishes, push a request, and manage or audit something."""
            await self._published()
            await self._pushed()
            await stagedoor(self._system, *next(commands))
            self.done["commands"] += 1

        return course

    async def _published(self) -> None:
        outside = self._outside
        found = (await outside.http.get(f"{outside.issuer}/.well-known/openid-configuration")).json()
        keys = (await outside.http.get(found["jwks_uri"])).json()
        self.failures["there are no keys"] += not keys["keys"]
        self.done["discoveries"] += 1

    async def _pushed(self) -> None:
        """RFC 9126."""
        form = {
            "response_type": "code",
            "redirect_uri": self._hub.redirect_uri,
            "scope": "openid read",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256",
        }
        outside = self._outside
        answer = await outside.http.post(f"{outside.issuer}/connect/par", data=form, auth=self._hub.auth)
        self.failures[f"a pushed request was answered {answer.status_code}"] += answer.status_code != 201
        self.done["pushed requests"] += 1

    async def _introspected(self, app: App, token: str, *, active: bool) -> None:
        self.failures["an introspection was wrong"] += await self._outside.introspect(app, token) is not active
        self.done["introspections"] += 1

    async def _reads(self, path: str, token: str) -> None:
        status = await self._outside.call(path, token)
        if status == 503:
            raise NotNow(path)
        self.failures[f"{path} answered {status}"] += status != 200
        self.done["reads"] += 1

    async def _guarded(self, tokens: Mapping[str, str]) -> None:
        """Checked by the guard from now on, until it forgets."""
        self.failures["the guard refused a good token"] += await self._guard.watch(tokens)

    async def _validated(self, token: str) -> None:
        """One of a batch, over gRPC."""
        self._questions.append(pb.ValidateRequest(token=token, audience=self._audience))
        if len(self._questions) < _BATCH:
            return
        questions, self._questions = self._questions, []
        answer = await self._validation.ValidateBatch(pb.ValidateBatchRequest(requests=questions), timeout=30)
        self.done["verdicts over gRPC"] += len(answer.responses)
        self.failures["the last of a batch was refused"] += not answer.responses[-1].allowed


def _errors_logged(system: System) -> list[str]:
    """What services and PostgreSQL have called an error."""
    found = []
    for name in SERVICES:
        for line in (system.home.logs / f"{name}.log").read_text(errors="replace").splitlines():
            level = json.loads(line)["level"] if line.startswith("{") else "critical"
            if level in {"error", "critical"}:
                found.append(f"{name} logged {line[:300]}")
    postgres = system.postgres.log.read_text(errors="replace").splitlines()
    return found + [f"PostgreSQL logged {line[:300]}" for line in postgres if _DATABASE_ERROR.search(line)]


def _pid(part: Part) -> int:
    if not isinstance(part, Process):
        raise TypeError("a service is one process of ours")
    return part.pid


def _size(pid: int) -> float:
    """Megabytes of memory that a process and its children have in use."""
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / _MEGABYTE
