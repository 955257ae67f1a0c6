"""`stagedoor logouts` against the whole system: an application that cannot be told, until it can."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from tests.support.command import CommandRefused, stagedoor
from tests.support.receiver import Receiver, receiving, status
from tests.support.work import eventually

CALLBACK = "http://localhost:8499/callback"
PAST = 2**62
"""An id that there never will be."""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(answer=status(503)) as running:
        yield running


async def listed(system: System, client_id: str, *more: str) -> list[dict[str, Any]]:
    """What is not delivered to an application yet."""
    answer: Any = await stagedoor(system, "logouts", "list", "--client", client_id, *more)
    return list(answer[0])


async def test_the_life_of_one_that_cannot_be_delivered(system: System, receiver: Receiver) -> None:
    client_id = f"com.unwell/{secrets.token_hex(4)}"
    (registered,) = await stagedoor(
        *(system, "apps", "register", client_id, "--name", "Unwell", "--redirect-uri", CALLBACK),
        *("--grant", "authorization_code", "--backchannel-logout-uri", receiver.uri),
    )
    flow = CodeFlow(system.ports.issuer, client_id, CALLBACK, "openid")
    async with Visitor("freddie", "a-kind-of-magic-1986") as freddie:
        tokens = await flow.redeem(flow.code(await freddie.go(flow.address)), client_secret=registered["client_secret"])
        leaving = {"id_token_hint": str(tokens["id_token"])}
        await freddie.browser.get(f"{system.ports.issuer}/connect/endsession", params=leaving)
    await eventually(lambda: bool(receiver.tokens), 30)

    async def failed() -> bool:
        return any(one["attempts"] for one in await listed(system, client_id))

    await eventually(failed, 60)
    (one,) = await listed(system, client_id)
    assert (one["state"], one["failure"], one["client_id"]) == ("waiting", "status_503", client_id)
    assert one["due_at"] > one["failed_at"]
    assert await listed(system, client_id, "--given-up") == []

    async def retried() -> bool:
        try:
            (again,) = await stagedoor(system, "logouts", "retry", str(one["delivery_id"]))
        except CommandRefused:  # it is being sent by itself at this moment
            return False
        return bool(again == {"retried": 1})

    await eventually(retried, 60)
    receiver.answer = status(200)

    async def gone() -> bool:
        return await listed(system, client_id) == []

    await eventually(gone, 60)
    with pytest.raises(CommandRefused) as refused:
        await stagedoor(system, "logouts", "retry", str(PAST))
    assert (refused.value.status, refused.value.reason.count("\n")) == (1, 0)
    assert "(logout_not_found)" in refused.value.reason
    await stagedoor(system, "apps", "uninstall", client_id, "--yes")


async def test_where_no_logout_can_be_sent(system: System) -> None:
    for uri in ("http://hub.example/logout", "https://hub.example/#x", "ftp://localhost/x"):
        with pytest.raises(CommandRefused) as refused:
            await stagedoor(system, "apps", "change", "com.setlist/app", "--backchannel-logout-uri", uri)
        assert refused.value.status == 1
        assert "(invalid_client_metadata)" in refused.value.reason
