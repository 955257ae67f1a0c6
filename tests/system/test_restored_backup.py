"""A back-up is restored that lost a tail, under a running system: the lost branch counts no more, all else goes on."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.process import until
from infra.local.system import System
from tests.chaos.clients import basic, claims
from tests.chaos.stream import differences
from tests.support.command import stagedoor
from tests.support.ports import free_ports

MERCHSYNC = "com.merchsync/service"
OK, UNAUTHORIZED, UNAVAILABLE = 200, 401, 503


async def copy(system: System, folder: Path) -> None:
    """A back-up of this moment."""
    await system.stop_part("postgres")
    shutil.copytree(system.postgres.data, folder)
    await system.start_part("postgres")
    await system.ready()


async def restore(system: System, folder: Path) -> None:
    """As an operator would: put the back-up in the place of the cluster and let PostgreSQL recover."""
    await system.stop_part("postgres")
    await asyncio.to_thread(_replace, system.postgres.data, folder)
    await system.start_part("postgres")
    await system.ready()


def _replace(data: Path, folder: Path) -> None:
    owner = data.stat()
    shutil.rmtree(data)
    folder.rename(data)
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = '/bin/false'\n")
    for path in (data, *data.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)


@pytest.mark.timeout(300)
async def test_tokens_of_the_lost_branch_are_refused_and_everything_else_goes_on(folder: Path) -> None:
    async with (
        System(folder, ports=free_ports(), durable=False) as system,
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
    ):

        async def issue(client_id: str, secret: str) -> httpx.Response:
            form = {"grant_type": "client_credentials", "scope": "read"}
            return await http.post(f"{system.ports.issuer}/connect/token", data=form, auth=basic(client_id, secret))

        (merchsync,) = [one for one in system.demo["applications"] if one["client_id"] == MERCHSYNC]

        async def token() -> str:
            issued: list[str] = []

            async def once() -> bool:
                answer = await issue(MERCHSYNC, merchsync["client_secret"])
                # An issuer that has not caught up can only say that it cannot say.
                assert answer.status_code in {OK, UNAVAILABLE}, answer.text
                issued.extend([answer.json()["access_token"]] if answer.status_code == OK else [])
                return bool(issued)

            assert await until(once, 15)
            return issued[0]

        async def api(token: str) -> int:
            bearer = {"Authorization": f"Bearer {token}"}
            return (await http.get(f"{system.ports.origin}/api/tours", headers=bearer)).status_code

        async def becomes(token: str, status: int) -> bool:
            async def so() -> bool:
                return await api(token) == status

            return await until(so, 40)

        async def registered(client_id: str) -> dict[str, Any]:
            (made,) = await stagedoor(
                system, "apps", "register", client_id, "--name", "Lost", "--type", "confidential",
                "--scope", "read", "--grant", "client_credentials",
            )  # fmt: skip
            return made

        kept = await token()
        await copy(system, folder / "back-up")
        application = await registered("com.lost/app")
        lost = await token()
        assert await becomes(lost, OK)
        assert (await issue("com.lost/app", application["client_secret"])).status_code == OK

        await restore(system, folder / "back-up")
        living = await token()
        assert claims(lost)["epoch"] == 1
        assert claims(living)["epoch"] == 2
        assert claims(living)["pos"] <= claims(lost)["pos"]
        assert await becomes(living, OK)
        # As long as the log is not where the lost one was, it cannot be known whether that position is yet to come.
        assert await api(lost) in {UNAUTHORIZED, UNAVAILABLE}
        assert await becomes(kept, OK), "it is of the branch that lives"

        async def is_nobody() -> bool:
            status = (await issue("com.lost/app", application["client_secret"])).status_code
            # While the issuer has not caught up with what has just been appended it can only say that it cannot say.
            assert status in {UNAUTHORIZED, UNAVAILABLE}
            return status == UNAUTHORIZED

        assert await until(is_nobody, 15)
        while claims(await token())["pos"] <= claims(lost)["pos"] + 5:
            assert await api(lost) in {UNAUTHORIZED, UNAVAILABLE}
        assert await becomes(lost, UNAUTHORIZED)
        assert await api(kept) == OK
        assert await differences(system) == []
        # The name was never taken on this branch.
        assert (await registered("com.lost/app"))["client_secret"] != application["client_secret"]
