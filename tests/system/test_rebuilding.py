"""Read models are made again while the system runs, and nobody notices."""

import asyncio
import sys
from typing import Any

import asyncpg
import httpx
import pytest

from infra.local import services
from infra.local.postgres import SUPERUSER
from infra.local.system import System
from tests.benchmarks.stage import postgres_of
from tests.support.command import CommandRefused, stagedoor
from tests.support.read_models import differences
from tests.support.work import Work, eventually

CLIENT_ID = "com.merchsync/service"
SERVICES = ("registry", "identity", "token_issuer")


class Tokens:
    """Tokens that are asked for and used all the time; each has to be given, and to be accepted."""

    def __init__(self, system: System) -> None:
        (self.application,) = [one for one in system.demo["applications"] if one["client_id"] == CLIENT_ID]
        self.system = system
        self.used = 0

    async def ask(self) -> None:
        secret = httpx.BasicAuth(CLIENT_ID.replace("/", "%2F"), self.application["client_secret"])
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            while True:
                answer = await http.post(
                    f"{self.system.ports.issuer}/connect/token",
                    data={"grant_type": "client_credentials", "scope": "read"},
                    auth=secret,
                )
                assert answer.status_code == httpx.codes.OK, answer.text
                bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
                tours = await http.get(f"{self.system.ports.origin}/api/tours", headers=bearer)
                assert tours.status_code == httpx.codes.OK, tours.text
                self.used += 1
                await asyncio.sleep(0.02)


async def execute(system: System, statement: str) -> None:
    server = postgres_of(system)
    connection = await asyncpg.connect(server.dsn(SUPERUSER), password=server.password)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def of_resource(system: System, *arguments: str) -> tuple[int | None, str]:
    """The command that the resource service's own host has."""
    dsn = postgres_of(system).dsn("resource")
    told = services._settings(system.home, system.ports, "resource", dsn, system.ports)
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.resource.rebuild", *arguments),
        env={**services.python_environment(), **told},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await running.communicate()
    return running.returncode, out.decode()


@pytest.mark.timeout(180)
async def test_everything_is_rebuilt_while_tokens_are_given_and_used(system: System) -> None:
    tokens = Tokens(system)
    async with Work() as work:
        asking = [work.start(tokens.ask()) for _ in range(3)]
        await eventually(lambda: tokens.used > 5)
        for service in SERVICES:
            told: list[dict[str, Any]] = await stagedoor(system, "rebuild", service)
            assert told[-1]["live"]
        status, said = await of_resource(system)
        assert (status, "own: rebuilt" in said) == (0, True)
        used = tokens.used
        await eventually(lambda: tokens.used > used + 5)
        for service in SERVICES:
            told = await stagedoor(system, "rebuild", service, "--check")
            assert all(one["differences"] == [] for one in told)
        assert not any(task.done() for task in asking)
    assert await differences(system) == []


async def test_a_row_that_was_tampered_with_is_found_and_mended(system: System) -> None:
    await execute(system, "UPDATE token_issuer.users SET roles = '{administrator}' WHERE kind = 'community'")
    with pytest.raises(CommandRefused) as refused:
        await stagedoor(system, "rebuild", "token_issuer", "--check", "--projection", "known")
    assert (refused.value.status, "rows_differ" in refused.value.reason) == (1, True)
    assert [one.what for one in await differences(system, ["token_issuer"])] == ["roles"]
    await stagedoor(system, "rebuild", "token_issuer", "--projection", "known")
    (compared,) = await stagedoor(system, "rebuild", "token_issuer", "--check", "--projection", "known")
    assert compared["differences"] == []


async def test_the_resource_service_looks_after_itself(system: System) -> None:
    await execute(system, "INSERT INTO resource.tours VALUES ('forged', 's', 't', 'v', 'c', '2026-01-01', 1)")
    status, said = await of_resource(system, "--check")
    assert (status, said.strip()) == (1, "tours tour_id=forged unexpected")
    assert (await of_resource(system))[0] == 0
    assert (await of_resource(system, "--check"))[0] == 0


async def test_what_is_not_there_is_refused(system: System) -> None:
    with pytest.raises(CommandRefused) as refused:
        await stagedoor(system, "rebuild", "identity", "--projection", "vault")
    assert (refused.value.status, "unknown_projection" in refused.value.reason) == (1, True)
    with pytest.raises(CommandRefused) as wrong:
        await stagedoor(system, "rebuild", "ledger")
    assert wrong.value.status == 2
