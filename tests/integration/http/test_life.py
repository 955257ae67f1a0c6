"""How a service begins and ends: processes of their own."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(__file__).with_name("program.py")


class Program:
    """The process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until_serving(self) -> None:
        async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as client:
            while True:
                assert self.process.returncode is None
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{self.address}/healthz")).status_code == 200:
                        return
                await asyncio.sleep(0.02)

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().strip()

    async def end(self) -> tuple[int, str]:
        """Exit status and standard error, once it has ended by itself."""
        async with asyncio.timeout(30):
            _, errors = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, errors.decode()


@asynccontextmanager
async def started(what: str = "wait", **settings: str) -> AsyncIterator[Program]:
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'sdk'}",
        "STAGEDOOR_HTTP_BIND": f"127.0.0.1:{port}",
        "STAGEDOOR_DATABASE": "postgresql://nobody@127.0.0.1:9/nowhere",
        "STAGEDOOR_TLS_CA_FILE": "/nonexistent",
        "STAGEDOOR_TLS_CERTIFICATE_FILE": "/nonexistent",
        "STAGEDOOR_TLS_KEY_FILE": "/nonexistent",
        **{f"STAGEDOOR_{name.upper()}": value for name, value in settings.items()},
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), what, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe
    )
    try:
        yield Program(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def lines(errors: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in errors.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_finishes_what_is_under_way_and_ends_well(number: signal.Signals) -> None:
    async with started() as program, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        await program.until_serving()
        under_way = asyncio.ensure_future(client.get(f"{program.address}/slow"))
        assert await program.line() == "entered"
        program.process.send_signal(number)
        assert (await under_way).text == "slow"
        assert await program.line() == "background ended"
        status, errors = await program.end()
    assert status == 0
    assert [line["event"] for line in lines(errors)] == ["serving", "request", "stopped"]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", program.port), 1)


async def test_it_ends_well_when_its_certificate_is_renewed(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    file.write_text("the first")
    async with started(tls_certificate_file=str(file), renewal_seconds="0.5") as program:
        await program.until_serving()
        file.write_text("the second")
        status, errors = await program.end()
    assert status == 0
    assert [line["event"] for line in lines(errors)] == ["serving", "certificate_renewed", "stopped"]


async def test_it_does_not_wait_longer_than_it_is_set_to() -> None:
    async with started(drain_seconds="0.3") as program, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        await program.until_serving()
        under_way = asyncio.ensure_future(client.get(f"{program.address}/forever"))
        assert await program.line() == "entered"
        program.process.send_signal(signal.SIGTERM)
        answer = await under_way
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert (await program.end())[0] == 0


async def test_a_second_signal_ends_it_at_once() -> None:
    async with started(drain_seconds="60") as program, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        await program.until_serving()
        under_way = asyncio.ensure_future(client.get(f"{program.address}/forever"))
        assert await program.line() == "entered"
        program.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(OSError):
            while True:
                socket.create_connection(("127.0.0.1", program.port), 1).close()
                await asyncio.sleep(0.02)
        program.process.send_signal(signal.SIGTERM)
        assert (await program.end())[0] == 0
        with contextlib.suppress(httpx.TransportError):
            await under_way


async def test_a_follower_that_crashes_ends_the_process() -> None:
    async with started("crash") as program:
        status, errors = await program.end()
    assert status == 1
    ended = next(line for line in lines(errors) if line["event"] == "background_ended")
    assert ended["reason"] == "the follower lost its way, Bearer [redacted]"
    assert "RuntimeError" in ended["course"]


async def test_a_follower_that_cannot_go_on_ends_the_process() -> None:
    async with started("refuse") as program:
        status, errors = await program.end()
    assert status == 1
    assert any(line.get("reason") == "the log cannot be reached" for line in lines(errors))


async def test_background_work_may_be_done() -> None:
    async with started("finish") as program:
        await program.until_serving()
        program.process.send_signal(signal.SIGTERM)
        assert (await program.end())[0] == 0


async def test_a_port_that_is_taken_is_one_line_and_the_end() -> None:
    async with started() as first:
        await first.until_serving()
        async with started(http_bind=f"127.0.0.1:{first.port}") as second:
            status, errors = await second.end()
    assert status == 1
    assert errors == f"stagedoor: HTTP cannot listen on 127.0.0.1:{first.port}: the address is in use\n"


async def test_what_is_needed_and_missing_at_the_start_is_one_line_and_the_end() -> None:
    async with started("unreachable") as program:
        assert await program.end() == (1, "stagedoor: the log cannot be reached\n")


@pytest.mark.parametrize(
    ("name", "value", "host"),
    [
        ("http_bind", "0.0.0.0:8401", "0.0.0.0"),  # noqa: S104  (to be refused)
        ("http_bind", "[::]:8401", "::"),
        ("grpc_bind", "10.0.0.7:9401", "10.0.0.7"),
        ("grpc_bind", "example.com:9401", "example.com"),
        ("issuer", "https://id.example.com/id", "id.example.com"),
        ("issuer", "http://127.0.0.1.example.com/id", "127.0.0.1.example.com"),
        ("issuer", "http://127.0.0.1@example.com/id", "example.com"),
        ("origin", "https://example.com", "example.com"),
    ],
)
async def test_the_demo_is_for_this_machine_alone(name: str, value: str, host: str) -> None:
    async with started(demo="true", **{name: value}) as program:
        status, errors = await program.end()
    assert status == 1
    assert errors == f"stagedoor: demo mode is for this machine alone: STAGEDOOR_{name.upper()} names {host}\n"


async def test_the_demo_runs_on_this_machine() -> None:
    async with started(demo="true", issuer="https://localhost:8443/id", grpc_bind="[::1]:9401") as program:
        await program.until_serving()
        program.process.send_signal(signal.SIGTERM)
        assert (await program.end())[0] == 0


async def test_a_bad_address_is_one_line_and_the_end() -> None:
    async with started(http_bind="127.0.0.1") as program:
        status, errors = await program.end()
    assert status == 1
    assert errors == "stagedoor: '127.0.0.1' is not an address to listen on; it has the form host:port\n"
