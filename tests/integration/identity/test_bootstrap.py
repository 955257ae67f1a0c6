import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from protos.stagedoor.identity.v1 import identity_pb2 as pb
from services.identity.main import refuse_demo_users
from shared.errors import Kind
from tests.integration.identity.management import operating
from tests.support.identity_service import Identity, sign_in, start
from tests.support.parties import Parties
from tests.support.postgres import Database

SECRET = "s" * 43
BRIAN = pb.BootstrapRequest(deploy_secret=SECRET, user_name="brian", password="red-special-1963")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "deploy"
    file.write_text(f"{SECRET}\n")
    return {"deploy_secret_file": file}


async def test_the_first_administrator(identity: Identity, parties: Parties) -> None:
    async with operating(identity, parties) as operator:
        answer = await operator("Bootstrap", BRIAN, person="")
        user = (await operator("GetUser", pb.GetUserRequest(user=pb.UserKey(sub=answer.sub)))).user
        assert (user.user_name, user.kind, list(user.roles)) == ("brian", "internal", ["administrator"])
        assert (await sign_in(identity.browser(), "brian", "red-special-1963")).path == "/id/consent"
        again = pb.BootstrapRequest(deploy_secret=SECRET, user_name="thief", password="thief-password")
        refusal = await operator.refused("Bootstrap", again, person="")
        assert (refusal.kind, refusal.code) == (Kind.ALREADY_EXISTS, "already_bootstrapped")
        assert len(await identity.facts("UserRegistered")) == 1


async def test_of_many_at_once_one_succeeds(identity: Identity, parties: Parties) -> None:
    async with operating(identity, parties) as operator:
        requests = [
            pb.BootstrapRequest(deploy_secret=SECRET, user_name=f"first-{number}", password="red-special-1963")
            for number in range(8)
        ]
        answers = await asyncio.gather(
            *(operator("Bootstrap", request, person="") for request in requests), return_exceptions=True
        )
        assert len([answer for answer in answers if not isinstance(answer, BaseException)]) == 1
        assert len(await identity.facts("UserRegistered")) == 1


@pytest.mark.parametrize("secret", ["", "wrong", "s" * 42, "s" * 44])
async def test_a_wrong_secret(identity: Identity, parties: Parties, secret: str) -> None:
    async with operating(identity, parties) as operator:
        request = pb.BootstrapRequest(deploy_secret=secret, user_name="thief", password="thief-password")
        refusal = await operator.refused("Bootstrap", request, person="")
        assert refusal.kind is Kind.UNAUTHENTICATED
        assert await identity.facts() == []


async def test_guessing_is_slow(identity: Identity, parties: Parties) -> None:
    async with operating(identity, parties) as operator:
        wrong = pb.BootstrapRequest(deploy_secret="t" * 43, user_name="thief", password="thief-password")
        kinds = [(await operator.refused("Bootstrap", wrong, person="")).kind for _ in range(6)]
        assert kinds == [*[Kind.UNAUTHENTICATED] * 5, Kind.EXHAUSTED]
        assert (await operator.refused("Bootstrap", BRIAN, person="")).kind is Kind.EXHAUSTED
        assert await identity.facts() == []


@pytest.mark.parametrize("text", ["", "short"])
async def test_a_secret_that_could_be_guessed_opens_nothing(
    database: Database, parties: Parties, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "short"
    file.write_text(text)
    async with AsyncExitStack() as stack:
        identity = await start(stack, database, tmp_path, {"deploy_secret_file": file})
        async with operating(identity, parties) as operator:
            request = pb.BootstrapRequest(deploy_secret=text, user_name="thief", password="thief-password")
            assert (await operator.refused("Bootstrap", request, person="")).code == "wrong_deploy_secret"


class TestDemo:
    async def test_the_log_remembers_that_it_holds_demo_users(self, database: Database, tmp_path: Path) -> None:
        async with AsyncExitStack() as stack:
            demo = await start(stack, database, tmp_path, {"demo": True})
            await refuse_demo_users(demo.parts.questions, demo=False)
            await demo.register()
            await refuse_demo_users(demo.parts.questions, demo=True)
            with pytest.raises(SystemExit, match="demo users"):
                await refuse_demo_users(demo.parts.questions, demo=False)

    async def test_other_users_are_no_demo_users(self, identity: Identity) -> None:
        await identity.register()
        await refuse_demo_users(identity.parts.questions, demo=False)
