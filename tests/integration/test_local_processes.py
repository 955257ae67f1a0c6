"""The local system's own parts: the folder, processes on a leash, tending, readiness."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from infra.local import services
from infra.local.failure import SystemFailure
from infra.local.home import Home
from infra.local.ports import LOOPBACK, SERVICES
from infra.local.process import Process, until
from infra.local.tending import Tending
from tests.support.ports import free_ports

FOREVER = "import signal\nwhile True: signal.pause()"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.take()
    return home


def python(home: Home, name: str, program: str) -> Process:
    return Process(name, [sys.executable, "-c", program], services.python_environment(), home.log(name))


def test_one_system_holds_the_folder(home: Home) -> None:
    with pytest.raises(SystemFailure, match="another system is running"):
        Home(home.path).take()
    home.release()
    Home(home.path).take()


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemFailure, match="cannot be used") as failure:
        Home(tmp_path / "file").take()
    assert "\n" not in str(failure.value)


def test_secrets_are_made_once_and_are_private(home: Home) -> None:
    path = home.secret("registry.database")
    text = path.read_text()
    assert len(text.strip()) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert home.secret("registry.database").read_text() == text
    assert home.secret("identity.database").read_text() != text


def test_nobody_else_lists_the_folder(home: Home) -> None:
    assert stat.S_IMODE(home.path.stat().st_mode) & 0o066 == 0
    assert stat.S_IMODE((home.path / "secrets").stat().st_mode) == 0o700


async def test_a_process_stops_and_starts_again(home: Home) -> None:
    process = python(home, "some", FOREVER)
    await process.start()
    first = process.pid
    await process.stop()
    assert not process.running
    await process.start()
    assert process.running
    assert process.pid != first
    await process.kill()
    assert not psutil.pid_exists(first)


async def test_a_process_that_does_not_listen_is_ended(home: Home) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)\n" + FOREVER
    process = python(home, "deaf", deaf)
    await process.start()

    async def deafened() -> bool:
        return "deaf" in process.last_words()

    assert await until(deafened, 10)
    await process.stop(0.2)
    assert not process.running


async def test_a_paused_process_can_be_stopped(home: Home) -> None:
    process = python(home, "paused", FOREVER)
    await process.start()
    process.pause()

    async def is_stopped() -> bool:
        return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED

    assert await until(is_stopped, 10)
    await process.stop()
    assert not process.running


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of no other system sends the signal")
async def test_a_killed_starter_leaves_nothing_behind(home: Home) -> None:
    program = f"""
import asyncio, sys
from infra.local.process import Process
from pathlib import Path
async def main():
    child = Process("child", [sys.executable, "-c", {FOREVER!r}], {{}}, Path({str(home.log("child"))!r}))
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    starter = python(home, "starter", program)
    await starter.start()

    async def told() -> bool:
        return starter.last_words().strip().isdigit()

    assert await until(told, 10), starter.last_words()
    child = int(starter.last_words())
    assert psutil.pid_exists(child)
    os.kill(starter.pid, signal.SIGKILL)

    async def gone() -> bool:
        return not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE

    assert await until(gone, 10)


async def test_what_ends_is_started_again(home: Home) -> None:
    process, tending = python(home, "some", FOREVER), Tending()
    await process.start()
    tending.want(process)
    first = process.pid
    assert await tending.look() == []
    await process.kill()
    assert len(await tending.look()) == 1

    async def again() -> bool:
        await tending.look()
        return process.running

    assert await until(again, 10)
    assert process.pid != first
    await process.stop()


async def test_what_does_not_start_is_said_once_with_its_last_words(home: Home) -> None:
    process, tending = python(home, "some", "raise SystemExit('no such thing')"), Tending()
    await process.start()
    tending.want(process)

    async def never() -> bool:
        await tending.look(starting=True)
        return False

    with pytest.raises(SystemFailure, match=r"(?s)some does not start.*no such thing"):
        await until(never, 30)


@pytest.fixture
async def answering() -> AsyncIterator[dict[int, bytes]]:
    """What the stand-ins for services answer, by port; they listen where a system's services would."""
    ports = free_ports()
    answers = {ports.http(service): b"200 OK" for service in SERVICES}

    def stand_in(port: int) -> asyncio.Task[None]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 " + answers[port] + b'\r\nConnection: close\r\n\r\n{"lag": 3}')
            await writer.drain()
            writer.close()

        async def serve() -> None:
            async with await asyncio.start_server(answer, LOOPBACK, port) as server:
                await server.serve_forever()

        return asyncio.create_task(serve())

    tasks = [stand_in(port) for port in answers]
    yield answers
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_all_are_ready_or_the_system_is_not(home: Home, answering: dict[int, bytes]) -> None:
    ports = free_ports()
    command = [sys.executable, "-P", "-m", "infra.local.readiness", str(ports.readiness)]
    command += [f"{name}={port}" for name, port in zip(SERVICES, answering, strict=True)]
    process = Process("readiness", command, services.python_environment(), home.log("readiness"))
    await process.start()
    try:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def ask() -> httpx.Response:
                return await client.get(f"http://{LOOPBACK}:{ports.readiness}/readyz")

            async def listening() -> bool:
                try:
                    await ask()
                except httpx.ConnectError:
                    return False
                return True

            assert await until(listening, 10)
            good = await ask()
            assert good.status_code == 200
            assert good.json()["services"]["ledger"] == {"ready": True, "says": {"lag": 3}}

            answering[list(answering)[2]] = b"503 Service Unavailable"
            bad = await ask()
            assert bad.status_code == 503
            told = bad.json()["services"]
            assert [name for name in SERVICES if not told[name]["ready"]] == [SERVICES[2]]
    finally:
        await process.stop()
