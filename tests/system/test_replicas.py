"""Two replicas of every service at once: it does not matter which one is asked."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from infra.local.demo_data import BACKSTAGEHUB
from infra.local.ports import Ports
from infra.local.process import until
from infra.local.system import System
from protos.stagedoor.registry.v1 import registry_pb2
from shared.ids import new_id
from tests.support.replicas import Replicas, claims, doubled

pytestmark = pytest.mark.timeout(240)
FREDDIE = ("freddie", "a-kind-of-magic-1986")
BRIAN = ("brian", "red-special-1963")
SCOPE = "openid offline_access read update"
SETLIST, MERCHSYNC = "com.setlist/app", "com.merchsync/service"
TOUR = {"title": "The Magic Tour", "venue": "Wembley Stadium", "city": "London", "date": "1986-07-12"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(system: System) -> AsyncIterator[list[Ports]]:
    async with doubled(system) as ports:
        yield ports


@pytest.fixture
async def replicas(system: System, both: list[Ports]) -> AsyncIterator[Replicas]:
    made = Replicas(system, both)
    yield made
    await made.close()


async def tokens(replicas: Replicas, client_id: str = BACKSTAGEHUB, scope: str = SCOPE) -> dict[str, Any]:
    """Everything that a sign-in gives, begun and ended anywhere."""
    flow = replicas.flow(client_id, scope)
    async with replicas.visitor(*FREDDIE) as freddie:
        code = flow.code(await freddie.go(flow.address))
    answer = await replicas.redeem(flow, code, 1)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("first", [0, 1])
async def test_a_sign_in_that_changes_replicas_with_each_page(replicas: Replicas, first: int) -> None:
    flow = replicas.flow(BACKSTAGEHUB, SCOPE, prompt="consent")
    async with replicas.visitor(*FREDDIE) as freddie:
        door = freddie.browser._transport
        door._turn = first  # type: ignore[attr-defined]
        code = flow.code(await freddie.go(flow.address))
        asked = door.asked  # type: ignore[attr-defined]
    pages = [replica for _, path, replica in asked]
    assert len(pages) >= 4
    assert all(one != other for one, other in pairwise(pages)), asked
    answer = await replicas.redeem(flow, code, first)
    assert answer.status_code == 200, answer.text
    for replica in (0, 1):
        assert (await replicas.api("GET", "/tours", replica, answer.json()["access_token"])).status_code == 200


@pytest.mark.parametrize("issuing", [0, 1])
async def test_a_code_is_redeemed_at_the_other_issuer(replicas: Replicas, issuing: int) -> None:
    flow = replicas.flow(BACKSTAGEHUB, SCOPE)
    async with replicas.visitor(*FREDDIE) as freddie:
        freddie.browser._transport.at["identity"] = issuing  # type: ignore[attr-defined]
        code = flow.code(await freddie.go(flow.address))
    answer = await replicas.redeem(flow, code, 1 - issuing)
    assert answer.status_code == 200, answer.text
    again = await replicas.redeem(flow, code, issuing)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


async def test_a_refresh_is_answered_the_same_at_the_other_issuer(replicas: Replicas) -> None:
    given = await tokens(replicas)
    form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    first = await replicas.token(BACKSTAGEHUB, 0, **form)
    second = await replicas.token(BACKSTAGEHUB, 1, **form)
    assert first.status_code == second.status_code == 200, second.text
    one, other = first.json(), second.json()
    assert claims(one["access_token"]) == claims(other["access_token"])
    assert one["refresh_token"] == other["refresh_token"] != given["refresh_token"]


async def test_twenty_refreshes_at_once_at_both_issuers_are_one(replicas: Replicas) -> None:
    given = await tokens(replicas)
    form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    answers = await asyncio.gather(*(replicas.token(BACKSTAGEHUB, number % 2, **form) for number in range(20)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    told = [answer.json() for answer in answers if answer.is_success]
    assert len(told) >= 2
    assert len({one["refresh_token"] for one in told}) == 1
    assert len({claims(one["access_token"])["jti"] for one in told}) == 1


async def test_fifty_redemptions_at_once_at_both_issuers_give_one_success(replicas: Replicas) -> None:
    flow = replicas.flow(BACKSTAGEHUB, SCOPE)
    async with replicas.visitor(*FREDDIE) as freddie:
        code = flow.code(await freddie.go(flow.address))
    answers = await asyncio.gather(*(replicas.redeem(flow, code, number % 2) for number in range(50)))
    asked = [replica for _, path, replica in replicas.door.asked if path.endswith("/token")]
    assert [asked.count(replica) for replica in (0, 1)] == [25, 25]
    won = [answer.json() for answer in answers if answer.is_success]
    assert len(won) == 1
    assert {answer.status_code for answer in answers if not answer.is_success} <= {400, 503}

    async def refused(replica: int) -> bool:
        return (await replicas.api("GET", "/tours", replica, won[0]["access_token"])).status_code == 401

    for replica in (0, 1):
        assert await until(partial(refused, replica), 30), "used twice, a code ends what it gave"
    refresh = await replicas.token(BACKSTAGEHUB, 0, grant_type="refresh_token", refresh_token=won[0]["refresh_token"])
    assert refresh.json()["error"] == "invalid_grant"


async def test_session_and_consent_hold_at_the_other_identity_service(replicas: Replicas) -> None:
    async with replicas.visitor(*BRIAN) as brian:
        door = brian.browser._transport
        door.at["identity"] = 0  # type: ignore[attr-defined]
        first = replicas.flow(SETLIST, "openid read")
        first.code(await brian.go(first.address))
        door.at["identity"] = 1  # type: ignore[attr-defined]
        door.asked.clear()  # type: ignore[attr-defined]
        silent = replicas.flow(SETLIST, "openid read", prompt="none")
        silent.code(await brian.go(silent.address))
        assert {method for method, _, _ in door.asked} == {"GET"}  # type: ignore[attr-defined]


async def test_a_session_that_ended_at_one_is_over_at_the_other(replicas: Replicas) -> None:
    async with replicas.visitor(*BRIAN) as brian:
        door = brian.browser._transport
        door.at["identity"] = 0  # type: ignore[attr-defined]
        flow = replicas.flow(SETLIST, "openid read")
        code = flow.code(await brian.go(flow.address))
        given = (await replicas.redeem(flow, code, 0)).json()
        ended = await brian.browser.get(
            f"{replicas.issuer}/connect/endsession", params={"id_token_hint": given["id_token"]}
        )
        assert ended.status_code in {200, 302, 303}, ended.text
        door.at["identity"] = 1  # type: ignore[attr-defined]
        silent = replicas.flow(SETLIST, "openid read", prompt="none")
        back = await brian.go(silent.address)
    assert parse_qs(urlsplit(back).query)["error"] == ["login_required"]


async def test_an_application_changed_at_one_registry_is_changed_at_the_other(replicas: Replicas) -> None:
    client_id = f"com.replicas.s{new_id().lower().replace('_', 'x').replace('-', 'x')}/app"
    settings = registry_pb2.ApplicationSettings(
        display_name="Before", type="confidential", scopes=["read"], grants=["client_credentials"]
    )
    async with replicas.registry(0) as one, replicas.registry(1) as other:

        async def call(method: Any, request: Any) -> Any:
            return await method(request, metadata=replicas.metadata)

        await call(
            one.RegisterApplication, registry_pb2.RegisterApplicationRequest(client_id=client_id, settings=settings)
        )
        with pytest.raises(grpc.aio.AioRpcError) as twice:
            await call(
                other.RegisterApplication,
                registry_pb2.RegisterApplicationRequest(client_id=client_id, settings=settings),
            )
        assert twice.value.code() is grpc.StatusCode.ALREADY_EXISTS
        change = registry_pb2.ChangeApplicationRequest(
            client_id=client_id,
            settings=registry_pb2.ApplicationSettings(display_name="After"),
            mask=FieldMask(paths=["display_name"]),
        )
        done = await call(one.ChangeApplication, change)
        ask = registry_pb2.GetApplicationRequest(client_id=client_id, minimum_position=done.position)
        assert (await call(other.GetApplication, ask)).application.settings.display_name == "After"


async def test_an_application_disabled_at_one_registry_gets_nothing_at_either_issuer(replicas: Replicas) -> None:
    async with replicas.registry(1) as registry:
        disable = registry_pb2.DisableApplicationRequest(client_id=MERCHSYNC, reason="a test")
        await registry.DisableApplication(disable, metadata=replicas.metadata)
        try:
            for number in range(10):
                answer = await replicas.token(MERCHSYNC, number % 2, grant_type="client_credentials")
                assert not answer.is_success, "issued past a kill switch"
        finally:
            enable = registry_pb2.EnableApplicationRequest(client_id=MERCHSYNC)
            await registry.EnableApplication(enable, metadata=replicas.metadata)

    async def served(replica: int) -> bool:
        return (await replicas.token(MERCHSYNC, replica, grant_type="client_credentials")).is_success

    for replica in (0, 1):
        assert await until(partial(served, replica), 30)


async def test_what_is_written_at_one_is_read_at_the_other_and_a_revoked_token_refused_at_both(
    replicas: Replicas,
) -> None:
    given = await tokens(replicas)
    added = await replicas.api("POST", "/tours", 0, given["access_token"], TOUR)
    assert added.status_code == 201, added.text
    read = await replicas.api("GET", f"/tours/{added.json()['id']}", 1, given["access_token"])
    assert (read.status_code, read.json()["venue"]) == (200, TOUR["venue"])
    assert (await replicas.revoke(BACKSTAGEHUB, 1, given["access_token"])).status_code == 200

    async def refused(replica: int) -> bool:
        return (await replicas.api("GET", "/tours", replica, given["access_token"])).status_code == 401

    for replica in (0, 1):
        assert await until(partial(refused, replica), 30)


async def test_one_ledger_leads_and_the_other_takes_over(replicas: Replicas, system: System) -> None:
    async def leading() -> list[int]:
        told = [await replicas.ready("ledger", replica) for replica in (0, 1)]
        return [replica for replica in (0, 1) if told[replica]["relay"]["detail"] == "leading"]

    async def one_leads() -> bool:
        return len(await leading()) == 1

    assert await until(one_leads, 30)
    (leader,) = await leading()
    names = ["ledger", f"ledger-{replicas.ports[1].base}"]
    await system.kill(names[leader])

    async def taken_over() -> bool:
        checks = await replicas.ready("ledger", 1 - leader)
        return bool(checks["relay"]["detail"] == "leading" and checks["relay"]["lag"] == 0)

    try:
        assert await until(taken_over, 30)
        assert (await replicas.token(MERCHSYNC, 0, grant_type="client_credentials")).is_success
        assert await until(taken_over, 30)
    finally:
        await system.start_part(names[leader])
        await system.ready()
