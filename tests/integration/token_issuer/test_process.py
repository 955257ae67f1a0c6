"""The issuer as a process: it starts without NATS, issues, and stops when it is told to."""

import asyncio
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.services import python_environment
from services.registry import events as registry
from shared.ids import digest, new_command_id, new_id
from shared.log.append import Append, Context
from shared.log.event import Catalogue
from tests.support.issuing import API, CONFIDENTIAL, HUB
from tests.support.parties import Parties
from tests.support.ports import free_ports
from tests.support.postgres import Database, password


@pytest.fixture
async def process(
    database: Database, parties: Parties, tmp_path: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    ports = free_ports()
    shown = parties.authority.service("token_issuer")
    files = {
        "database_password_file": password("token_issuer"),
        "nats_password_file": "unused",
        "master_key_file": b64encode(bytes(32)).decode(),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    environment = {
        **python_environment(),
        **{f"STAGEDOOR_{name.upper()}": str(tmp_path / name) for name in files},
        "STAGEDOOR_HTTP_BIND": f"127.0.0.1:{ports.http('token_issuer')}",
        "STAGEDOOR_GRPC_BIND": ports.grpc_address("token_issuer"),
        "STAGEDOOR_ORIGIN": ports.origin,
        "STAGEDOOR_ISSUER": ports.issuer,
        "STAGEDOOR_DATABASE": database.dsn("token_issuer"),
        "STAGEDOOR_NATS_URL": f"nats://127.0.0.1:{ports.nats}",
        "STAGEDOOR_NATS_USER": "token_issuer",
        "STAGEDOOR_TLS_CA_FILE": str(parties.authority.certificate),
        "STAGEDOOR_TLS_CERTIFICATE_FILE": str(shown.certificate),
        "STAGEDOOR_TLS_KEY_FILE": str(shown.key),
    }
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.token_issuer.main", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield running, f"http://127.0.0.1:{ports.http('token_issuer')}"
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def _until_ready(address: str) -> dict[str, Any]:
    """What it says of itself, once it is ready."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
        while True:
            try:
                answer = await client.get(f"{address}/readyz")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 200:
                return dict(answer.json()["checks"])
            await asyncio.sleep(0.05)


async def test_it_issues_without_nats_and_stops(
    process: tuple[asyncio.subprocess.Process, str], database: Database
) -> None:
    running, address = process
    checks = await _until_ready(address)
    assert set(checks) == {"log", "keys", "view", "logouts", "erasures", "read_models", "denials"}

    log = await database.log("registry", Catalogue.of(registry))
    secret = "s" * 43
    registered = registry.ApplicationRegistered(client_id=HUB, settings=CONFIDENTIAL)
    added = registry.SecretAdded(client_id=HUB, secret_id="1", secret_digest=digest(secret))
    api = registry.ResourceRegistered(
        resource_id="1",
        identifier=API,
        settings=registry.ResourceSettings(
            display_name="API",
            scopes=(registry.Scope(name="read", description="r"), registry.Scope(name="update", description="u")),
        ),
    )
    for stream, facts in ((f"application-{HUB}", (registered, added)), ("resource-catalogue", (api,))):
        await log.append(Append(stream, 0, facts, Context("service:registry", new_id(), new_command_id())))

    async with httpx.AsyncClient(trust_env=False, base_url=address, auth=(HUB, secret)) as client:
        answer = await client.post("/id/connect/token", data={"grant_type": "client_credentials"})
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        told = await client.post("/id/connect/introspect", data={"token": token})
        assert told.json()["active"] is True
        assert (await client.get("/id/.well-known/openid-configuration")).json()["issuer"].endswith("/id")

    running.terminate()
    _, said = await asyncio.wait_for(running.communicate(), 20)
    assert running.returncode == 0, said
    assert secret.encode() not in said
    assert token.encode() not in said
