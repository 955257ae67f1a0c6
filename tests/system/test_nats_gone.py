"""The failure table: NATS is gone, and an application is disabled meanwhile."""

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest

from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from tests.support.command import stagedoor
from tests.support.ports import free_ports

CLIENT_ID = "com.backstagehub/app"
MAX_STALENESS_SECONDS = 3.0
UNAUTHORIZED = 401


async def _tokens(system: System, application: dict[str, Any]) -> dict[str, Any]:
    flow = CodeFlow(
        system.ports.issuer, CLIENT_ID, application["redirect_uris"][0], "openid offline_access read update"
    )
    async with Visitor("freddie", "a-kind-of-magic-1986") as freddie:
        came_back_at = await freddie.go(flow.address, until=flow.redirect_uri)
    return dict(await flow.redeem(flow.code(came_back_at), client_secret=application["client_secret"]))


@pytest.mark.timeout(180)
async def test_an_application_disabled_while_nats_is_down_gets_and_keeps_nothing(folder: Path) -> None:
    settings = {"STAGEDOOR_MAX_STALENESS_SECONDS": str(MAX_STALENESS_SECONDS)}
    async with (
        System(folder, ports=free_ports(), durable=False, console=False, settings=settings) as system,
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
    ):
        (application,) = [one for one in system.demo["applications"] if one["client_id"] == CLIENT_ID]
        secret = httpx.BasicAuth(quote_plus(CLIENT_ID), application["client_secret"])

        async def api(token: str) -> int:
            bearer = {"Authorization": f"Bearer {token}"}
            return (await http.get(f"{system.ports.origin}/api/tours", headers=bearer)).status_code

        async def ask_for_token(**parameters: str) -> httpx.Response:
            return await http.post(f"{system.ports.issuer}/connect/token", data=parameters, auth=secret)

        tokens = await _tokens(system, application)
        assert await api(tokens["access_token"]) == httpx.codes.OK

        await system.kill("nats")
        # Others still get tokens: issuing does not need NATS.
        assert (await ask_for_token(grant_type="client_credentials")).is_success

        await stagedoor(system, "apps", "disable", CLIENT_ID, "--reason", "NATS is gone")
        acknowledged = time.monotonic()

        refresh = await ask_for_token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        assert "access_token" not in refresh.text, refresh.text
        assert refresh.status_code in {400, 401, 503}, refresh.text
        fresh = await ask_for_token(grant_type="client_credentials")
        assert "access_token" not in fresh.text, fresh.text

        while await api(tokens["access_token"]) == httpx.codes.OK:
            assert time.monotonic() - acknowledged < MAX_STALENESS_SECONDS + 2, "accepted past the bound"
            await asyncio.sleep(0.05)
        for _ in range(20):
            assert await api(tokens["access_token"]) in {UNAUTHORIZED, 503}

        # When it returns, everything goes on by itself, and the application stays disabled.
        await system.start_part("nats")
        await system.ready()
        assert await api(tokens["access_token"]) == UNAUTHORIZED
        await stagedoor(system, "apps", "enable", CLIENT_ID)
        deadline = time.monotonic() + 30
        while await api(tokens["access_token"]) != httpx.codes.OK:
            assert time.monotonic() < deadline, "an enabled application stays refused"
            await asyncio.sleep(0.05)
