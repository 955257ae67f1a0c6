"""An application is told of a logout, whatever is killed on the way."""

import secrets
from typing import Any

import jwt
import pytest

from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from tests.support.command import stagedoor
from tests.support.receiver import receiving, status
from tests.support.work import eventually

CALLBACK = "http://localhost:8499/callback"


def sid(token: str) -> Any:
    return jwt.decode(token, options={"verify_signature": False})["sid"]


@pytest.mark.timeout(300)
async def test_the_issuer_is_killed_while_it_tells(system: System) -> None:
    async with receiving(answer=None) as receiver, Visitor("freddie", "a-kind-of-magic-1986") as freddie:
        client_id = f"com.patient/{secrets.token_hex(4)}"
        (registered,) = await stagedoor(
            *(system, "apps", "register", client_id, "--name", "Patient", "--redirect-uri", CALLBACK),
            *("--grant", "authorization_code", "--backchannel-logout-uri", receiver.uri),
        )

        async def signed_in() -> dict[str, object]:
            flow = CodeFlow(system.ports.issuer, client_id, CALLBACK, "openid")
            code = flow.code(await freddie.go(flow.address))
            return await flow.redeem(code, client_secret=registered["client_secret"])

        hint = str((await signed_in())["id_token"])
        await freddie.browser.get(f"{system.ports.issuer}/connect/endsession", params={"id_token_hint": hint})
        await eventually(lambda: bool(receiver.tokens), 60)
        await system.kill("token_issuer")
        receiver.answer = status(200)
        await system.start_part("token_issuer")
        await system.ready()
        # What it had taken is due again when its lease ends.
        await eventually(lambda: len(receiver.tokens) == 2, 120)
        assert {sid(token) for token in receiver.tokens} == {sid(hint)}
        ids = [jwt.decode(token, options={"verify_signature": False})["jti"] for token in receiver.tokens]
        assert len(set(ids)) == 2

        async def settled() -> bool:
            left: Any = await stagedoor(system, "logouts", "list", "--client", client_id)
            return bool(left == [[]])

        await eventually(settled, 60)


@pytest.mark.timeout(300)
async def test_a_session_ends_while_the_issuer_is_gone(system: System) -> None:
    async with receiving() as receiver, Visitor("freddie", "a-kind-of-magic-1986") as freddie:
        client_id = f"com.patient/{secrets.token_hex(4)}"
        (registered,) = await stagedoor(
            *(system, "apps", "register", client_id, "--name", "Patient", "--redirect-uri", CALLBACK),
            *("--grant", "authorization_code", "--backchannel-logout-uri", receiver.uri),
        )
        flow = CodeFlow(system.ports.issuer, client_id, CALLBACK, "openid")
        code = flow.code(await freddie.go(flow.address))
        tokens = await flow.redeem(code, client_secret=registered["client_secret"])
        mine = sid(str(tokens["id_token"]))
        await system.stop_part("token_issuer")
        ended: Any = await stagedoor(system, "users", "disable", "freddie")
        assert ended[0]["position"] > 0
        try:
            await system.start_part("token_issuer")
            await system.ready()
            await eventually(lambda: mine in {sid(token) for token in receiver.tokens}, 60)
        finally:
            await stagedoor(system, "users", "enable", "freddie")
