"""`make run` from outside: what it prints, what it leaves behind, and how it ends."""

import asyncio
import contextlib
import json
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from infra.local.ports import LOOPBACK, Ports
from infra.local.process import until
from infra.local.services import python_environment
from tests.support.ports import free_ports

START_SECONDS = 150
pytestmark = pytest.mark.timeout(600)


class Running:
    """One `stagedoor up`."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self.printed = ""
        self._descendants: set[psutil.Process] = set()

    @classmethod
    async def up(cls, folder: Path, base: str) -> "Running":
        """Start it; its words go into `printed`."""
        environment = {
            **python_environment(),
            "STAGEDOOR_HOME": str(folder),
            "STAGEDOOR_PORT_BASE": base,
            "COLUMNS": "160",
        }
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infra.local.supervisor"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return cls(child)

    async def says(self, text: str, seconds: float = START_SECONDS) -> None:
        """Wait until it has printed this."""
        stdout = self._child.stdout
        assert stdout is not None
        async with asyncio.timeout(seconds):
            while text not in self.printed:
                line = await stdout.readline()
                assert line, f"it ended, and had printed: {self.printed}"
                self.printed += line.decode()

    async def ended(self, seconds: float = START_SECONDS) -> int:
        """Its exit status, when it has one."""
        assert self._child.stdout is not None
        async with asyncio.timeout(seconds):
            self.printed += (await self._child.stdout.read()).decode()
            return await self._child.wait()

    def send(self, number: signal.Signals) -> None:
        """A signal to itself alone."""
        self._child.send_signal(number)

    def family(self) -> list[psutil.Process]:
        """Everything that it has started by now."""
        found = psutil.Process(self._child.pid).children(recursive=True)
        self._descendants.update(found)
        return found

    def part(self, module: str) -> psutil.Process | None:
        """The process that runs this module, if there is one."""
        for one in self.family():
            with contextlib.suppress(psutil.Error):
                if module in one.cmdline():
                    return one
        return None

    async def nothing_is_left(self) -> None:
        """Fail if a process that was seen in its family outlives it for long."""

        async def gone() -> bool:
            return not [one for one in self._descendants if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

        assert await until(gone, 30), [one.cmdline() for one in self._descendants if one.is_running()]

    async def end(self) -> None:
        """At the end of a test, however that went."""
        if self._child.returncode is None:
            self._child.kill()
            await self._child.wait()


@pytest.fixture
async def started() -> AsyncIterator[list[Running]]:
    """Whatever a test starts, so that it is ended."""
    running: list[Running] = []
    yield running
    for one in running:
        await one.end()


async def up(started: list[Running], folder: Path, ports: Ports | str) -> Running:
    running = await Running.up(folder, str(ports.base) if isinstance(ports, Ports) else ports)
    started.append(running)
    return running


async def test_it_starts_says_where_everything_is_and_ends_at_ctrl_c(started: list[Running], folder: Path) -> None:
    ports = free_ports()
    run = await up(started, folder, ports)
    await run.says(str(folder / "demo.json"))
    assert ports.origin in run.printed
    assert f"http://localhost:{ports.backstagehub}" in run.printed
    for user in ("freddie", "brian", "fan", "auditor"):
        assert user in run.printed

    assert stat.S_IMODE((folder / "demo.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "profile.toml").stat().st_mode) == 0o600
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{ports.origin}/readyz")).status_code == 200
        assert (await client.get(f"http://localhost:{ports.backstagehub}/")).status_code == 200
        metadata = await client.get(f"{ports.issuer}/.well-known/openid-configuration")
        assert metadata.json()["issuer"] == ports.issuer

    assert len(run.family()) >= 10
    run.send(signal.SIGINT)
    assert await run.ended() == 0
    await run.nothing_is_left()
    assert ports.taken() is None


async def test_a_second_run_finds_its_data_again(started: list[Running], folder: Path) -> None:
    ports = free_ports()
    first = await up(started, folder, ports)
    await first.says(str(folder / "demo.json"))
    document = (folder / "demo.json").read_text()
    first.send(signal.SIGTERM)
    assert await first.ended() == 0, first.printed

    second = await up(started, folder, ports)
    await second.says(str(folder / "demo.json"))
    assert (folder / "demo.json").read_text() == document
    second.send(signal.SIGINT)
    assert await second.ended() == 0

    # Lost, it is written again, with secrets that work in the place of those that nobody knows any more.
    (folder / "demo.json").unlink()
    third = await up(started, folder, ports)
    await third.says(str(folder / "demo.json"))
    before, after = (
        {one["client_id"]: one.get("client_secret") for one in json.loads(text)["applications"]}
        for text in (document, (folder / "demo.json").read_text())
    )
    assert before.keys() == after.keys()
    async with httpx.AsyncClient(trust_env=False) as client:

        async def token(secret: str | None) -> int:
            return (
                await client.post(
                    f"{ports.issuer}/connect/token",
                    data={"grant_type": "client_credentials", "scope": "read"},
                    auth=httpx.BasicAuth("com.merchsync%2Fservice", secret or ""),
                )
            ).status_code

        assert await token(after["com.merchsync/service"]) == 200
        assert await token(before["com.merchsync/service"]) == 401
    third.send(signal.SIGINT)
    assert await third.ended() == 0


async def test_killed_it_leaves_nothing_running_and_starts_again(started: list[Running], folder: Path) -> None:
    ports = free_ports()
    run = await up(started, folder, ports)
    await run.says(str(folder / "demo.json"))
    assert len(run.family()) >= 10
    run.send(signal.SIGKILL)
    assert await run.ended() == -signal.SIGKILL
    await run.nothing_is_left()

    again = await up(started, folder, ports)
    await again.says(str(folder / "demo.json"))
    again.send(signal.SIGINT)
    assert await again.ended() == 0


async def test_a_service_that_dies_is_started_again(started: list[Running], folder: Path) -> None:
    ports = free_ports()
    run = await up(started, folder, ports)
    await run.says(str(folder / "demo.json"))
    registry = run.part("services.registry.main")
    assert registry is not None
    registry.kill()
    await run.says("registry ended (signal 9) and is started again")
    async with httpx.AsyncClient(trust_env=False) as client:

        async def ready() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return (await client.get(f"{ports.origin}/readyz")).status_code == 200
            return False

        assert await until(ready, 60)
    run.send(signal.SIGINT)
    assert await run.ended() == 0


async def test_it_can_be_stopped_while_it_starts(started: list[Running], folder: Path) -> None:
    ports = free_ports()
    run = await up(started, folder, ports)

    async def under_way() -> bool:
        return run.part("services.registry.main") is not None

    assert await until(under_way, START_SECONDS)
    run.send(signal.SIGINT)
    assert await run.ended() == 0
    await run.nothing_is_left()
    assert ports.taken() is None


async def test_only_one_runs_in_a_folder(started: list[Running], folder: Path) -> None:
    first = await up(started, folder, free_ports())

    async def locked() -> bool:
        return (folder / "lock").exists()

    assert await until(locked, START_SECONDS)
    second = await up(started, folder, free_ports())
    assert await second.ended() == 1
    assert second.printed.splitlines() == [f"stagedoor: another system is running in {folder}"]
    first.send(signal.SIGINT)
    assert await first.ended() == 0, first.printed


async def test_a_port_that_is_taken_is_one_line(started: list[Running], folder: Path) -> None:
    ports = free_ports()
    with socket.socket() as somebody:
        somebody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        somebody.bind((LOOPBACK, ports.nats))
        somebody.listen()
        run = await up(started, folder, ports)
        assert await run.ended() == 1
    assert run.printed.splitlines() == [
        f"stagedoor: port {ports.nats} (NATS) is taken; STAGEDOOR_PORT_BASE moves all ports"
    ]


async def test_data_of_another_origin_are_not_mixed(started: list[Running], folder: Path) -> None:
    (folder / "origin").write_text("http://127.0.0.1:9\n")
    run = await up(started, folder, free_ports())
    assert await run.ended() == 1
    assert len(run.printed.splitlines()) == 1
    assert "the data in" in run.printed


@pytest.mark.parametrize("base", ["eighty", "80", "65000", "8400 ", "\uff18\uff14\uff10\uff10"])
async def test_a_port_base_has_to_be_a_number(started: list[Running], folder: Path, base: str) -> None:
    run = await up(started, folder, base)
    assert await run.ended() == 1
    (line,) = run.printed.splitlines()
    assert line.startswith("stagedoor: STAGEDOOR_PORT_BASE has to be a number")


async def test_what_does_not_start_is_told_with_its_last_words(started: list[Running], folder: Path) -> None:
    (folder / "nats").mkdir()
    (folder / "nats" / "jetstream").write_text("in the way")
    run = await up(started, folder, free_ports())
    assert await run.ended() == 1
    assert run.printed.startswith("nats ended"), run.printed
    assert "stagedoor: nats does not start. Its last words:" in run.printed
    await run.nothing_is_left()
