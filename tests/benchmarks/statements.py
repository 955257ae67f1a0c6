"""P5: how often a request goes to the database, counted by the server itself."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httpx
from rich.console import Console

from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from tests.benchmarks.options import Options
from tests.benchmarks.result import Result, Target
from tests.benchmarks.rounds import Spread
from tests.benchmarks.server_log import ServerLog
from tests.benchmarks.sign_ins import SignIns, identity_log, somebody
from tests.benchmarks.stage import basic, postgres_of

_TIMES = 10
"""Requests of each kind in one round."""
_IDLE_SECONDS = 4.0
_APPENDS, _APPENDS_PER_SECOND = 40, 20
_HEAD = "denial_number FROM log.head"
_APPEND = "log.append_with_rows"
_BACKGROUND = ("log.apply", "log.read", "log.denials_after", "log.active_denials", "log.care", "LISTEN stagedoor")
"""What followers and feeds ask after an append, whoever's it was; no request waits for that."""
_SERVICES = ("registry", "identity", "token_issuer")
Statements = Counter[tuple[str, str]]


class _Caller:
    """An application and a person of the demo."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.issuer: str = system.demo["issuer"]
        self.application: dict[str, Any] = system.demo["applications"][0]
        self.person = next(user for user in system.demo["users"] if user["name"] == "freddie")
        self.http = httpx.AsyncClient(trust_env=False, timeout=30)
        self.access_token = ""
        self.refresh_token = ""

    async def flow(self, visitor: Visitor) -> None:
        """From the application's link to its tokens."""
        application = self.application
        flow = CodeFlow(
            self.issuer, application["client_id"], application["redirect_uris"][0], "openid read update offline_access"
        )
        answer = await flow.redeem(
            flow.code(await visitor.go(flow.address)), client_secret=application["client_secret"]
        )
        self.access_token, self.refresh_token = str(answer["access_token"]), str(answer["refresh_token"])

    async def sign_in(self) -> None:
        """A browser that has never been here."""
        async with Visitor(self.person["name"], self.person["password"]) as visitor:
            await self.flow(visitor)

    async def refresh(self) -> None:
        """A rotation."""
        answer = await self._ask("token", grant_type="refresh_token", refresh_token=self.refresh_token)
        self.refresh_token = answer["refresh_token"]

    async def introspect(self) -> None:
        """Of an active token."""
        answer = await self._ask("introspect", token=self.access_token)
        if answer.get("active") is not True:
            raise RuntimeError("the token is not active")

    async def credentials(self) -> None:
        """A token for the application itself."""
        await self._ask("token", grant_type="client_credentials", scope="read")

    async def _ask(self, endpoint: str, **form: str) -> dict[str, Any]:
        secret = basic(self.application["client_id"], self.application["client_secret"])
        answer = await self.http.post(f"{self.issuer}/connect/{endpoint}", data=form, headers={"Authorization": secret})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


async def statements(system: System, options: Options, console: Console) -> list[Result]:
    """P5, in a running system."""
    console.print("  P5: counting statements")
    server = ServerLog(postgres_of(system), "stagedoor")
    caller = _Caller(system)
    results = []
    async with (
        caller.http,
        Visitor(caller.person["name"], caller.person["password"]) as visitor,
        server.telling(log_statement="all"),
    ):
        # Connections learn the names of types and prepare their statements at the first use.
        for _ in range(_TIMES):
            await asyncio.gather(caller.sign_in(), caller.sign_in())
            await asyncio.gather(*(caller.credentials() for _ in range(8)), *(caller.introspect() for _ in range(8)))
        await caller.flow(visitor)

        async def again() -> None:
            await caller.flow(visitor)

        kinds: tuple[tuple[str, Callable[[], Awaitable[None]], Target | None], ...] = (
            ("code flow, with the password typed", caller.sign_in, Target("<=", 15)),
            ("code flow, signed in before", again, Target("<=", 15)),
            ("refresh", caller.refresh, Target("<=", 2)),
            ("introspection", caller.introspect, Target("<=", 1)),
            ("client credentials", caller.credentials, None),
        )
        beside = await _beside(server, system)
        for what, request, target in kinds:
            counts, found = [], Counter[tuple[str, str]]()
            for _ in range(options.rounds):
                count, seen = await _count(server, request, beside)
                counts.append(count)
                found += seen
            results.append(
                Result.of("P5", f"{what}: statements, each a round trip", "", Spread.of(counts), target=target)
            )
            if options.verbose:
                for (login, text), times in found.most_common():
                    console.print(f"    {times / options.rounds / _TIMES:5.1f} {login}: {text[:120]}")
    return results


@dataclass(frozen=True, slots=True)
class _Beside:
    """What the services ask without being asked."""

    idle: Statements
    """In `_IDLE_SECONDS` in which nothing happens."""
    following: Statements
    """After `_APPENDS` appends of somebody else: they look how far the log is."""


async def _beside(server: ServerLog, system: System) -> _Beside:
    server.mark()
    await asyncio.sleep(_IDLE_SECONDS)
    idle = await server.statements()
    log = await identity_log(system)
    try:
        async with server.connection() as eyes:
            server.mark()
            found = await SignIns(log, somebody(system), eyes).run(_APPENDS_PER_SECOND, _APPENDS / _APPENDS_PER_SECOND)
            following = await server.statements()
    finally:
        await log.close()
    if found.errors:
        raise RuntimeError("not everything could be appended")
    return _Beside(idle, Statements({key: times for key, times in following.items() if _HEAD in key[1]}))


async def _count(
    server: ServerLog, request: Callable[[], Awaitable[None]], beside: _Beside
) -> tuple[float, Statements]:
    """Statements of the usual request, less what would have been asked anyway in that time and after those appends."""
    server.mark()
    began = perf_counter()
    for _ in range(_TIMES):
        await request()
    seconds = perf_counter() - began
    sent = await server.statements()
    appends = sum(times for (_, text), times in sent.items() if _APPEND in text)
    seen = Statements()
    whole = 0.0
    for key, times in sent.items():
        login, text = key
        if login not in _SERVICES or any(word in text for word in _BACKGROUND):
            continue
        seen[key] += times
        anyway = beside.idle[key] * seconds / _IDLE_SECONDS + beside.following[key] * appends / _APPENDS
        # Whole numbers: what is left of the estimate, and what one request of several asks, is not the usual course.
        whole += round(max(0.0, times - anyway) / _TIMES)
    return whole, seen
