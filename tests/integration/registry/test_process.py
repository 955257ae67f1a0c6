"""The registry as a process: it starts without its neighbours, says what it misses, and stops when it is told to."""

import asyncio
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.services import python_environment
from services.registry import read_model
from services.registry.system import CLI
from shared.log.log import Log
from tests.support.parties import Parties
from tests.support.ports import free_ports
from tests.support.postgres import Database, password


@pytest.fixture
async def process(
    database: Database, parties: Parties, tmp_path: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    ports = free_ports()
    shown = parties.authority.service("registry")
    files = {
        "database_password_file": password("registry"),
        "nats_password_file": "unused",
        "master_key_file": b64encode(bytes(32)).decode(),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    environment = {
        **python_environment(),
        **{f"STAGEDOOR_{name.upper()}": str(tmp_path / name) for name in files},
        "STAGEDOOR_HTTP_BIND": f"127.0.0.1:{ports.http('registry')}",
        "STAGEDOOR_GRPC_BIND": ports.grpc_address("registry"),
        "STAGEDOOR_ORIGIN": ports.origin,
        "STAGEDOOR_ISSUER": ports.issuer,
        "STAGEDOOR_DATABASE": database.dsn("registry"),
        "STAGEDOOR_NATS_URL": f"nats://127.0.0.1:{ports.nats}",
        "STAGEDOOR_NATS_USER": "registry",
        "STAGEDOOR_TLS_CA_FILE": str(parties.authority.certificate),
        "STAGEDOOR_TLS_CERTIFICATE_FILE": str(shown.certificate),
        "STAGEDOOR_TLS_KEY_FILE": str(shown.key),
        "STAGEDOOR_TOKEN_ISSUER_ADDRESS": ports.grpc_address("token_issuer"),
    }
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.registry.main", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield running, f"http://127.0.0.1:{ports.http('registry')}"
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def _checks(address: str) -> dict[str, Any]:
    """What it says of itself, once its system registrations are done."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
        while True:
            try:
                answer = await client.get(f"{address}/readyz")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            checks: dict[str, Any] = answer.json()["checks"]
            if checks["system"]["ok"]:
                return checks
            await asyncio.sleep(0.05)


async def test_it_registers_the_system_and_stops(process: tuple[asyncio.subprocess.Process, str], log: Log) -> None:
    running, address = process
    checks = await _checks(address)
    assert checks["log"]["ok"]
    assert not checks["tokens"]["ok"], "without NATS and an issuer it cannot judge tokens"
    assert await read_model.application(log.pool, CLI) is not None
    running.terminate()
    assert await asyncio.wait_for(running.wait(), 30) == 0
