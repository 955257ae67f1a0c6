"""Back-ups are put back: elsewhere with nothing lost, and without a tail, under a running system."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from infra.local.process import until
from infra.local.system import System
from tests.chaos.clients import basic, claims
from tests.chaos.stream import differences
from tests.support.back_up import archived, put_back
from tests.support.command import CommandRefused, stagedoor
from tests.support.ports import free_ports
from tests.support.system import new_folder

MERCHSYNC = "com.merchsync/service"
OK, UNAUTHORIZED, UNAVAILABLE = 200, 401, 503
NOT_BACKED_UP = ("postgres", "nats", "logs", "lock")
"""Of a system's folder: PostgreSQL is backed up by its own means, the stream is made again from the log."""

pytestmark = pytest.mark.timeout(300)


class Outside:
    """Those who use a system."""

    def __init__(self, system: System, http: httpx.AsyncClient) -> None:
        self.system = system
        self._http = http

    async def issue(self, client_id: str, secret: str) -> httpx.Response:
        form = {"grant_type": "client_credentials", "scope": "read"}
        return await self._http.post(
            f"{self.system.ports.issuer}/connect/token", data=form, auth=basic(client_id, secret)
        )

    async def token(self) -> str:
        (merchsync,) = [one for one in self.system.demo["applications"] if one["client_id"] == MERCHSYNC]
        issued: list[str] = []

        async def once() -> bool:
            answer = await self.issue(MERCHSYNC, merchsync["client_secret"])
            # An issuer that has not caught up can only say that it cannot say.
            assert answer.status_code in {OK, UNAVAILABLE}, answer.text
            issued.extend([answer.json()["access_token"]] if answer.status_code == OK else [])
            return bool(issued)

        assert await until(once, 15)
        return issued[0]

    async def api(self, token: str) -> int:
        bearer = {"Authorization": f"Bearer {token}"}
        return (await self._http.get(f"{self.system.ports.origin}/api/tours", headers=bearer)).status_code

    async def becomes(self, token: str, status: int) -> bool:
        async def so() -> bool:
            return await self.api(token) == status

        return await until(so, 40)

    async def registered(self, client_id: str) -> dict[str, Any]:
        (made,) = await stagedoor(
            self.system, "apps", "register", client_id, "--name", "Lost", "--type", "confidential",
            "--scope", "read", "--grant", "client_credentials",
        )  # fmt: skip
        return made

    async def keep_checkpoint(self, path: Path, *, covering: int) -> Path:
        """What an auditor puts where the operator cannot reach it; it speaks of this position."""

        async def covers() -> bool:
            (told,) = await stagedoor(self.system, "audit", "checkpoint", "--out", str(path))
            return bool(told["size"] >= covering)

        assert await until(covers, 30)
        return path


@dataclass
class Moved:
    """A system that was restored in another place, and what is known of it from before."""

    system: System
    kept: str
    """A token of before the back-up."""
    last: str
    """A token of after the back-up, of which only the archived WAL knows."""
    checkpoint: Path
    key: str
    elsewhere: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def moved() -> AsyncIterator[Moved]:
    folder, ports = new_folder(), free_ports()
    first, second = folder / "first", folder / "second"
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            one = System(first, ports=ports, durable=False, console=False)
            await one.start()
            try:
                outside = Outside(one, http)
                kept = await outside.token()
                async with archived(one.postgres, folder / "archive") as archive:
                    last = await outside.token()
                    checkpoint = await outside.keep_checkpoint(folder / "checkpoint", covering=claims(last)["pos"])
                    await one.stop()
            finally:
                await one.stop()
        key = (one.home.evidence / "1" / "key").read_text().strip()
        shutil.copytree(first, second, ignore=shutil.ignore_patterns(*NOT_BACKED_UP))
        (second / "postgres").mkdir()
        shutil.copy(first / "postgres" / "password", second / "postgres" / "password")
        # The operator's profile is no part of the system: it says where the certificates are on this machine.
        profile = second / "profile.toml"
        profile.write_text(profile.read_text().replace(str(first), str(second)))
        shutil.rmtree(first)
        other = System(second, ports=ports, durable=False, console=False)
        put_back(archive, other.postgres)
        async with other:
            yield Moved(other, kept, last, checkpoint, key, folder)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@pytest.fixture
async def outside(moved: Moved) -> AsyncIterator[Outside]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        yield Outside(moved.system, http)


async def test_elsewhere_with_all_of_the_wal_everything_is_as_it_was(moved: Moved, outside: Outside) -> None:
    assert await outside.becomes(moved.kept, OK)
    assert await outside.becomes(moved.last, OK), "only the archived WAL knows of it"
    new = await outside.token()
    # The server's history is another one from here on, so positions might be given out twice, for all that it can know.
    assert claims(new)["epoch"] > claims(moved.last)["epoch"]
    assert claims(new)["pos"] > claims(moved.last)["pos"]
    assert await outside.becomes(new, OK)
    (found,) = await stagedoor(moved.system, "audit", "verify", "--key", moved.key, "--earlier", str(moved.checkpoint))
    assert (found["right"], found["lost"]) == (True, None)
    assert found["events"] >= claims(moved.last)["pos"]
    assert await differences(moved.system) == [], "the stream is made again from the log"


async def copy(system: System, folder: Path) -> None:
    """A back-up of this moment."""
    await system.stop_part("postgres")
    shutil.copytree(system.postgres.data, folder)
    await system.start_part("postgres")
    await system.ready()


async def restore(system: System, folder: Path) -> None:
    """As an operator would: put the back-up in the place of the cluster and let PostgreSQL recover."""
    await system.stop_part("postgres")
    await asyncio.to_thread(_replace, system, folder)
    await system.start_part("postgres")
    await system.ready()


def _replace(system: System, folder: Path) -> None:
    data = system.postgres.data
    shutil.rmtree(data)
    folder.rename(data)
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = '/bin/false'\n")
    system.postgres.give(data)


async def test_tokens_of_the_lost_branch_are_refused_and_everything_else_goes_on(
    moved: Moved, outside: Outside
) -> None:
    system = moved.system
    kept = await outside.token()
    await copy(system, moved.elsewhere / "back-up")
    application = await outside.registered("com.lost/app")
    lost = await outside.token()
    assert await outside.becomes(lost, OK)
    assert (await outside.issue("com.lost/app", application["client_secret"])).status_code == OK
    checkpoint = await outside.keep_checkpoint(moved.elsewhere / "of the lost", covering=claims(lost)["pos"])

    await restore(system, moved.elsewhere / "back-up")
    living = await outside.token()
    assert claims(living)["epoch"] > claims(lost)["epoch"]
    assert claims(living)["pos"] <= claims(lost)["pos"]
    assert await outside.becomes(living, OK)

    async def not_accepted() -> bool:
        # As long as the log is not where the lost one was, it cannot be known whether that position is yet to come.
        return await outside.api(lost) in {UNAUTHORIZED, UNAVAILABLE}

    # The API hears of the new branch with the next heartbeat at the latest; from then on it is never accepted.
    assert await until(not_accepted, 15)
    assert await outside.becomes(kept, OK), "it is of the branch that lives"

    async def is_nobody() -> bool:
        status = (await outside.issue("com.lost/app", application["client_secret"])).status_code
        # While the issuer has not caught up with what has just been appended it can only say that it cannot say.
        assert status in {UNAUTHORIZED, UNAVAILABLE}
        return status == UNAUTHORIZED

    assert await until(is_nobody, 15)
    while claims(await outside.token())["pos"] <= claims(lost)["pos"] + 5:
        assert await outside.api(lost) in {UNAUTHORIZED, UNAVAILABLE}
    assert await outside.becomes(lost, UNAUTHORIZED)
    assert await outside.api(kept) == OK
    assert await differences(system) == []
    await the_loss_is_named(system, moved.key, checkpoint, claims(living)["epoch"], claims(lost)["pos"])
    # The name was never taken on this branch.
    assert (await outside.registered("com.lost/app"))["client_secret"] != application["client_secret"]


async def the_loss_is_named(system: System, key: str, checkpoint: Path, epoch: int, lost: int) -> None:
    """The log goes on as another branch, with another name, and no checkpoint of the lost one is met by it."""
    branch = system.home.evidence / str(epoch) / "key"

    async def has_begun() -> bool:
        return await asyncio.to_thread(branch.exists)

    assert await until(has_begun, 30)
    with pytest.raises(CommandRefused, match="the log has another name or key than is known") as refused:
        await stagedoor(system, "audit", "verify", "--key", key)
    assert refused.value.status == 1
    (found,) = await stagedoor(system, "audit", "verify", "--key", str(branch))
    assert found["right"]
    assert found["lost"][0] <= lost <= found["lost"][1]
    named = rf"is of another log: .*/log/1', and this one is .*/log/{epoch}'"
    with pytest.raises(CommandRefused, match=named) as refused:
        await stagedoor(system, "audit", "verify", "--key", str(branch), "--earlier", str(checkpoint))
    assert refused.value.status == 1
