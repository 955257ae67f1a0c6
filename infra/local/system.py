"""One whole system: `make run` runs it, tests and the story start their own, in a folder and on ports of their own.

async with System(folder, ports=Ports(21000)) as system:
    system.demo["users"]
    await system.kill("nats")
"""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx

from infra import migrate
from infra.local import backstagehub, caddy, demo, nats, services
from infra.local.certificates import Authority
from infra.local.failure import SystemFailure
from infra.local.home import Home
from infra.local.ports import LOOPBACK, SERVICES, Ports
from infra.local.postgres import Postgres
from infra.local.process import until
from infra.local.tending import Part, Tending
from shared.log.steps import StepsRefused

READY_SECONDS = 120.0
"""How long a start may take at the most. It takes a few seconds; a machine that is busy otherwise needs more."""
_PORTS_SECONDS = 1.0
_POLL_SECONDS = 0.05
_STOPPED_TOGETHER = (("backstagehub", "caddy", "readiness"), ("console", *SERVICES), ("nats",), ("postgres",))


class System:
    """PostgreSQL, NATS, Caddy, the services, the console, BackstageHub, and the demo data.

    Its parts are named `postgres`, `nats`, `caddy`, `readiness`, `registry`, `identity`, `token_issuer`, `resource`,
    `ledger`, `console` and `backstagehub`. Nothing in it belongs to an event loop.
    """

    def __init__(  # noqa: PLR0913  (what one system may have otherwise than another)
        self,
        folder: Path,
        *,
        ports: Ports | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        console: bool = True,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """`settings` are given to every service on top of the usual; not `durable` is faster, for tests alone.

        Without `console` that part is there, and only started by `start_part`.
        """
        self.home = Home(folder)
        self.ports = ports or Ports()
        self.postgres = Postgres(self.home.path / "postgres", fsync=durable)
        self.tending = Tending()
        self._settings = dict(settings or {})
        self._with_console = console
        self._say = say or (lambda _line: None)
        self._parts: dict[str, Part] = {}
        self._replicas: list[str] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def demo(self) -> dict[str, Any]:
        """What stands in `demo.json`; `SystemFailure` if that cannot be read."""
        try:
            found: dict[str, Any] = json.loads(self.home.demo.read_text())
        except (OSError, ValueError) as error:
            raise SystemFailure(f"{self.home.demo} cannot be read; without it, the next run makes another") from error
        return found

    def trust(self) -> ssl.SSLContext:
        """What a client of the front door checks certificates against."""
        return ssl.create_default_context(cafile=Authority(self.home.certificates).certificate)

    def part(self, name: str) -> Part:
        """One part, to look at; use the methods below to stop or start it."""
        return self._parts[name]

    async def start(self) -> None:
        """Start everything and wait until it is ready; `SystemFailure` says why not, and nothing is left running."""
        self.home.take()
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        # What a killed run held is given back within moments.
        if not await until(self._ports_are_free, _PORTS_SECONDS) and (taken := self.ports.taken()) is not None:
            raise SystemFailure(f"port {taken[1]} ({taken[0]}) is taken; STAGEDOOR_PORT_BASE moves all ports")
        self.home.remember_origin(self.ports.origin)
        postgres = self.postgres
        for node in self._nats():
            await self._run(node)
        await self._run(caddy.process(self.home, self.ports))
        await self._run(services.readiness(self.home, self.ports, console=self._with_console))
        await self._run(postgres)
        passwords = {name: services.database_password(self.home, name).read_text().strip() for name in SERVICES}
        try:
            await migrate.migrate(postgres.dsn(), postgres.password, passwords)
        except (OSError, asyncpg.PostgresError, StepsRefused) as failure:
            raise SystemFailure(f"the database cannot be migrated: {failure}") from failure
        for name in SERVICES:
            await self._run(services.process(self.home, self.ports, name, postgres.dsn(name), self._settings))
        self._parts["console"] = services.console(self.home, self.ports, self._settings)
        if self._with_console:
            await self._run(self._parts["console"])
        await self._until("the system", self._ask_door)
        await demo.seed(self.home, self.ports)
        await self._run(backstagehub.process(self.home, self.ports))
        await self._until("BackstageHub", self._ask_backstagehub)

    def _nats(self) -> Sequence[Part]:
        """The servers of NATS, not yet started."""
        return [nats.process(self.home, self.ports)]

    async def _ports_are_free(self) -> bool:
        return self.ports.taken() is None

    async def _run(self, part: Part) -> None:
        """Start a part, and keep it running."""
        self._parts[part.name] = part
        self.tending.want(part)
        await part.start()

    async def _until(self, what: str, asked: Callable[[], Awaitable[tuple[bool, str]]]) -> None:
        """Wait until it is ready; what ends on the way is started again, unless that happens too often."""
        deadline = time.monotonic() + READY_SECONDS
        said = ""
        while time.monotonic() < deadline:
            for line in await self.tending.look(starting=True):
                self._say(line)
            is_ready, said = await asked()
            if is_ready:
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise SystemFailure(f"{what} is not ready within {READY_SECONDS:.0f} s: {said}")

    async def stop(self) -> None:
        """Stop everything, the door first and the data last, and let go of the folder."""
        for names in ((*self._replicas,), *_STOPPED_TOGETHER):
            parts = [self._parts[name] for name in names if name in self._parts]
            self.tending.leave(parts)
            await asyncio.gather(*(part.stop() for part in parts))
        self.home.release()

    async def stop_part(self, name: str) -> None:
        """Stop one part in an orderly way; it stays stopped."""
        self.tending.leave([self._parts[name]])
        await self._parts[name].stop()

    async def kill(self, name: str) -> None:
        """End one part at once (SIGKILL); it stays ended."""
        self.tending.leave([self._parts[name]])
        await self._parts[name].kill()

    def pause(self, name: str) -> None:
        """Hold one part where it is (SIGSTOP)."""
        self._parts[name].pause()

    def resume(self, name: str) -> None:
        """Let a paused part go on."""
        self._parts[name].resume()

    async def start_part(self, name: str) -> None:
        """Start one part that was stopped or killed."""
        await self._run(self._parts[name])

    async def add_replica(self, service: str, own: Ports, program: Sequence[str] = ()) -> str:
        """Start one more process of a service, and wait until it is ready; answers the name of the part.

        It listens on `own` ports and calls its peers there, so replicas of services that call one another come on
        ports of one base. The door does not know of it. `program`: see `infra.local.services.process`.
        """
        dsn = self.postgres.dsn(service)
        replica = services.process(self.home, self.ports, service, dsn, self._settings, own=own, program=program)
        self._replicas.append(replica.name)
        await self._run(replica)

        async def asked() -> bool:
            return (await _ask(f"http://{LOOPBACK}:{own.http(service)}/readyz", self.trust()))[0]

        if not await until(asked, READY_SECONDS, every=_POLL_SECONDS):
            raise SystemFailure(f"{replica.name} is not ready. Its last words:\n{replica.last_words()}")
        return replica.name

    async def restart(self, name: str) -> None:
        """Stop one part, start it, and wait until the whole is ready."""
        await self.stop_part(name)
        await self.start_part(name)
        await self.ready()

    async def ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until the door says that all services are ready; `SystemFailure` says which one is not."""
        said = ""

        async def asked() -> bool:
            nonlocal said
            is_ready, said = await self._ask_door()
            return is_ready

        if not await until(asked, seconds, every=_POLL_SECONDS):
            raise SystemFailure(f"not ready within {seconds:.0f} s: {said}")

    async def _ask_door(self) -> tuple[bool, str]:
        is_ready, said = await _ask(f"{self.ports.origin}/readyz", self.trust())
        return is_ready, _not_ready(said)

    async def _ask_backstagehub(self) -> tuple[bool, str]:
        return await _ask(f"http://localhost:{self.ports.backstagehub}/", self.trust())


async def _ask(address: str, trust: ssl.SSLContext) -> tuple[bool, str]:
    """Whether the answer is a success; and what it, or the failure to get one, says."""
    try:
        async with httpx.AsyncClient(trust_env=False, verify=trust) as client:
            answer = await client.get(address, timeout=5)
    except httpx.HTTPError as failure:
        return False, f"{address}: {failure}"
    return answer.is_success, answer.text


def _not_ready(text: str) -> str:
    """The services that are not ready, and what each of them says about it, as words."""
    try:
        services_asked = json.loads(text)["services"]
    except (ValueError, KeyError, TypeError):
        return text[:200]
    return ", ".join(
        f"{name} ({_complaint(answer['says'])})" for name, answer in services_asked.items() if not answer["ready"]
    )


def _complaint(says: object) -> str:
    if not isinstance(says, dict) or not isinstance(says.get("checks"), dict):
        return str(says)
    return "; ".join(f"{what}: {check.get('detail')}" for what, check in says["checks"].items() if not check.get("ok"))
