"""Administrators see which applications could not be told of a logout, and have it tried again."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import LogoutsStub, add_LogoutsServicer_to_server
from services.identity.events import Role, UserKind
from services.registry.events import ApplicationType
from services.token_issuer.backchannel.rpc import LOGOUTS, RULES, LogoutsService
from shared.management import Management
from shared.rpc.client import channel, translate
from shared.rpc.server import RpcServer
from tests.support.backchannel import Backchannel
from tests.support.backchannel import backchannel as backchannel  # noqa: PLC0414  (a fixture)
from tests.support.issuing import HUB, PUBLIC, Client, Stage
from tests.support.parties import Parties
from tests.support.receiver import Receiver, receiving, status
from tests.support.work import eventually

if TYPE_CHECKING:
    from protos.stagedoor.tokens.v1.tokens_pb2_grpc import LogoutsAsyncStub

SETLIST = "com.setlist/app"
Metadata = tuple[tuple[str, str], ...]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(answer=status(500)) as running:
        yield running


@pytest.fixture
async def address(backchannel: Backchannel, parties: Parties) -> AsyncIterator[str]:
    """Of a server of `Logouts`."""
    stage = backchannel.stage
    server = RpcServer("127.0.0.1:0", parties.service("token_issuer"), RULES, Management(stage.guard).authenticate)
    server.add(add_LogoutsServicer_to_server, LogoutsService(backchannel.questions), LOGOUTS)
    await server.start()
    yield f"127.0.0.1:{server.port}"
    await server.stop(None)


@pytest.fixture
def logouts(address: str, parties: Parties) -> "LogoutsAsyncStub":
    return LogoutsStub(channel(address, parties.operator(), "token_issuer"))


async def person(stage: Stage, *roles: Role) -> Metadata:
    """Somebody who has signed in at the command."""
    command = PUBLIC.model_copy(
        update={"type": ApplicationType.NATIVE, "redirect_uris": ("http://127.0.0.1/callback",), "scopes": ("sec",)}
    )
    client_id = f"com.stagedoor/cli-{len(roles)}"
    await stage.register(command, client_id)
    client = Client(client_id, None, "http://127.0.0.1:51004/callback")
    body = await stage.tokens(client, await stage.user(UserKind.INTERNAL, *roles), scope="sec")
    return (("authorization", f"Bearer {body['access_token']}"),)


async def refused(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return translate(error.value).code


async def test_listed_and_tried_again(
    backchannel: Backchannel, receiver: Receiver, logouts: "LogoutsAsyncStub"
) -> None:
    brian = await person(backchannel.stage, Role.ADMINISTRATOR)
    hub, setlist = await backchannel.hub(receiver.uri), await backchannel.hub(receiver.uri, SETLIST)
    backchannel.deliver()
    people = [await backchannel.signed_in(hub, setlist) for _ in range(2)]
    positions = [await backchannel.sign_out(one) for one in people]

    async def failed() -> bool:
        return [one.attempts for one in await backchannel.left()] == [1] * 4

    await eventually(failed)
    await backchannel.stage.issuer.log.pool.execute(
        "UPDATE token_issuer.logout_deliveries SET due_at = NULL WHERE client_id = $1", SETLIST
    )
    found: list[pb.UndeliveredLogout] = []
    request = pb.ListLogoutsRequest(page_size=3)
    while True:
        page = await logouts.ListLogouts(request, metadata=brian)
        found += page.logouts
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [one.position for one in found] == [positions[1]] * 2 + [positions[0]] * 2
    assert {one.sid for one in found} == {one.sid for one in people}
    assert {one.failure for one in found} == {"status_500"}
    states = {(one.client_id, one.state, one.HasField("due_at")) for one in found}
    assert states == {(HUB, "waiting", True), (SETLIST, "given_up", False)}
    assert all(one.HasField("failed_at") for one in found)

    given_up = await logouts.ListLogouts(pb.ListLogoutsRequest(given_up_only=True), metadata=brian)
    assert {one.client_id for one in given_up.logouts} == {SETLIST}
    of_hub = await logouts.ListLogouts(pb.ListLogoutsRequest(client_id=HUB), metadata=brian)
    assert {one.client_id for one in of_hub.logouts} == {HUB}

    receiver.answer = status(200)
    one = given_up.logouts[0].delivery_id
    again = await logouts.RetryLogouts(pb.RetryLogoutsRequest(delivery_ids=[one]), metadata=brian)
    assert again.retried == 1
    assert (await logouts.RetryLogouts(pb.RetryLogoutsRequest(client_id=HUB), metadata=brian)).retried == 2
    await logouts.RetryLogouts(pb.RetryLogoutsRequest(all=True), metadata=brian)
    await eventually(backchannel.settled)
    assert await refused(logouts.RetryLogouts(pb.RetryLogoutsRequest(delivery_ids=[one]), metadata=brian)) == (
        "logout_not_found"
    )


async def test_what_cannot_be_asked(backchannel: Backchannel, logouts: "LogoutsAsyncStub") -> None:
    brian = await person(backchannel.stage, Role.ADMINISTRATOR)
    for retry in (
        pb.RetryLogoutsRequest(),
        pb.RetryLogoutsRequest(all=True, client_id=HUB),
        pb.RetryLogoutsRequest(all=True, delivery_ids=[1]),
        pb.RetryLogoutsRequest(client_id="a b"),
        pb.RetryLogoutsRequest(delivery_ids=range(1001)),
    ):
        assert await refused(logouts.RetryLogouts(retry, metadata=brian)) == "invalid_request"
    for listing in (
        pb.ListLogoutsRequest(page_size=1001),
        pb.ListLogoutsRequest(page_size=-1),
        pb.ListLogoutsRequest(page_token="é"),
        pb.ListLogoutsRequest(client_id="x" * 300),
    ):
        assert await refused(logouts.ListLogouts(listing, metadata=brian)) == "invalid_request"


async def test_administrators_only(
    backchannel: Backchannel, logouts: "LogoutsAsyncStub", address: str, parties: Parties
) -> None:
    auditor = await person(backchannel.stage, Role.AUDITOR)
    assert await refused(logouts.ListLogouts(pb.ListLogoutsRequest(), metadata=auditor)) == "role_missing"
    assert await refused(logouts.RetryLogouts(pb.RetryLogoutsRequest(all=True))) != ""
    for tls in (parties.service("identity"), parties.resource("x")):
        stub: LogoutsAsyncStub = LogoutsStub(channel(address, tls, "token_issuer"))
        assert await refused(stub.ListLogouts(pb.ListLogoutsRequest())) == "caller_not_allowed"
