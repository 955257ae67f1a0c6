"""Every part of a running system can be killed, and when it is back the system is as it was, by itself."""

import contextlib
from typing import Any

import httpx
import pytest

from infra.local.ports import SERVICES
from infra.local.process import until
from infra.local.system import System


@pytest.fixture
def merchsync(system: System) -> dict[str, Any]:
    """An application that gets tokens for itself."""
    (found,) = [one for one in system.demo["applications"] if one["client_id"] == "com.merchsync/service"]
    return dict(found)


async def synced(system: System, merchsync: dict[str, Any]) -> int:
    """Status of a call of the API with a token that was just issued; of the token endpoint, if that refuses."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        token = await client.post(
            f"{system.demo['issuer']}/connect/token",
            data={"grant_type": "client_credentials", "scope": "read"},
            auth=httpx.BasicAuth("com.merchsync%2Fservice", merchsync["client_secret"]),
        )
        if token.is_error:
            return token.status_code
        bearer = {"Authorization": f"Bearer {token.json()['access_token']}"}
        return (await client.get(f"{system.demo['origin']}/api/tours", headers=bearer)).status_code


@pytest.mark.timeout(180)
@pytest.mark.parametrize("part", ["postgres", "nats", "caddy", "readiness", *SERVICES])
async def test_what_was_killed_comes_back(system: System, merchsync: dict[str, Any], part: str) -> None:
    assert await synced(system, merchsync) == 200
    await system.kill(part)
    assert not system.part(part).running
    await system.start_part(part)
    await system.ready()

    async def works() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return await synced(system, merchsync) == 200
        return False

    assert await until(works, 30, every=0.2)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_door_is_ready_only_when_every_service_is(system: System, service: str) -> None:
    await system.stop_part(service)
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{system.demo['origin']}/readyz")
    await system.start_part(service)
    assert answer.status_code == 503
    told = answer.json()["services"]
    assert not told[service]["ready"]
    await system.ready()


async def test_a_service_that_is_paused_is_not_ready(system: System) -> None:
    system.pause("resource")
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answer = await client.get(f"{system.demo['origin']}/readyz")
    finally:
        system.resume("resource")
    assert answer.status_code == 503
    await system.ready()


async def test_demo_json_says_what_others_need(system: System) -> None:
    demo = system.demo
    assert demo["issuer"] == f"{demo['origin']}/id"
    assert {one["client_id"] for one in demo["applications"]} == {
        "com.backstagehub/app",
        "com.setlist/app",
        "com.merchsync/service",
        "com.roadie/spa",
    }
    assert {(one["name"], one["kind"]) for one in demo["users"]} == {
        ("freddie", "internal"),
        ("brian", "internal"),
        ("fan", "community"),
        ("auditor", "internal"),
    }
    assert all(one["sub"] for one in demo["users"])
    assert [one["client_id"] for one in demo["applications"] if "client_secret" not in one] == ["com.roadie/spa"]
    assert demo["resources"] == [{"identifier": f"{demo['origin']}/api", "scopes": ["read", "update"]}]
    assert set(demo["grpc"]) == set(SERVICES)
