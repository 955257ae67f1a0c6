"""WatchDenials over gRPC, on a real log, and the SDK's feed over it."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from services.registry import events as registry
from services.token_issuer import validation as service
from shared.rpc.client import channel
from stagedoor.clock import since_boot
from stagedoor.denials import DenialView
from stagedoor.grpc import GrpcFeed
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.validation.serving import Serving
from tests.support.work import Work, eventually


async def deny(validation: Serving, name: str) -> int:
    event = registry.ApplicationUninstalled(client_id=name)
    return (await validation.facts.write(f"application-{name}", event)).position


async def take(messages: AsyncIterator[pb.WatchDenialsResponse], last: str) -> list[pb.WatchDenialsResponse]:
    """Messages up to the first one of this kind."""
    found = []
    async with asyncio.timeout(10):
        async for message in messages:
            found.append(message)
            if message.WhichOneof("message") == last:
                return found
    raise AssertionError("the stream ended")


async def test_it_begins_with_a_snapshot_and_a_heartbeat_and_goes_on_in_order(validation: Serving) -> None:
    for name in ("a", "b"):
        await deny(validation, name)
    async with validation.connected() as stub:
        messages = aiter(stub.WatchDenials(pb.WatchDenialsRequest(), timeout=30))
        snapshot, heartbeat = await take(messages, "heartbeat")
        assert [denial.id for denial in snapshot.snapshot.denials] == ["a", "b"]
        assert (snapshot.snapshot.number, snapshot.snapshot.complete) == (2, True)
        assert (heartbeat.heartbeat.number, heartbeat.heartbeat.position) == (2, 4)
        for number, name in enumerate(("c", "d", "e"), start=3):
            position = await deny(validation, name)
            denial = (await take(messages, "denial"))[-1].denial
            assert (denial.number, denial.position, denial.kind, denial.id) == (number, position, "client", name)


async def test_heartbeats_never_vouch_for_a_denial_that_was_not_sent(validation: Serving) -> None:
    async with validation.connected() as stub:
        messages = aiter(stub.WatchDenials(pb.WatchDenialsRequest(), timeout=30))
        sent = (await take(messages, "snapshot"))[-1].snapshot.number

        async def write() -> None:
            for number in range(40):
                await deny(validation, f"n{number}")

        writing = asyncio.create_task(write())
        async with asyncio.timeout(20):
            async for message in messages:
                if message.WhichOneof("message") == "denial":
                    assert message.denial.number == sent + 1
                    sent = message.denial.number
                else:
                    assert message.heartbeat.number <= sent
                    if sent == 40 and message.heartbeat.number == 40:
                        break
        await writing


async def test_it_goes_on_after_the_number_that_was_applied(validation: Serving) -> None:
    for name in ("a", "b", "c"):
        await deny(validation, name)
    async with validation.connected() as stub:
        messages = aiter(stub.WatchDenials(pb.WatchDenialsRequest(after_number=1, epoch=1), timeout=30))
        found = await take(messages, "heartbeat")
    assert [message.WhichOneof("message") for message in found] == ["denial", "denial", "heartbeat"]
    assert [message.denial.number for message in found[:2]] == [2, 3]


@pytest.mark.parametrize(("after", "epoch"), [(2, 7), (2, 0), (9, 1)])
async def test_whoever_was_on_another_branch_begins_again(validation: Serving, after: int, epoch: int) -> None:
    for name in ("a", "b", "c"):
        await deny(validation, name)
    async with validation.connected() as stub:
        messages = aiter(stub.WatchDenials(pb.WatchDenialsRequest(after_number=after, epoch=epoch), timeout=30))
        found = await take(messages, "heartbeat")
    assert found[0].snapshot.number == 3


async def test_a_large_snapshot_comes_in_several_messages(validation: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PAGE", 3)
    for number in range(7):
        await deny(validation, f"n{number}")
    async with validation.connected() as stub:
        messages = aiter(stub.WatchDenials(pb.WatchDenialsRequest(), timeout=30))
        pages = [message.snapshot for message in (await take(messages, "heartbeat"))[:-1]]
    assert [len(page.denials) for page in pages] == [3, 3, 1]
    assert [page.complete for page in pages] == [False, False, True]
    assert {(page.position, page.number) for page in pages} == {(9, 7)}


async def test_negative_numbers_are_refused(validation: Serving) -> None:
    async with validation.connected() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await take(aiter(stub.WatchDenials(pb.WatchDenialsRequest(after_number=-1), timeout=10)), "heartbeat")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_operator_is_no_resource_and_watches_nothing(validation: Serving) -> None:
    async with validation.connected(validation.parties.operator()) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await take(aiter(stub.WatchDenials(pb.WatchDenialsRequest(), timeout=10)), "heartbeat")
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_sdk_follows_it(validation: Serving, work: Work) -> None:
    connection = channel(validation.address, validation.parties.resource("stagehands"), "token_issuer")
    view, feed = DenialView(), GrpcFeed(connection, renew_seconds=0.5)
    await deny(validation, "a")
    task = work.start(feed.run(view))
    await eventually(lambda: view.number == 1 and view.fresh(since_boot()))
    position = await deny(validation, "b")
    await feed.ping()
    await eventually(lambda: (view.number, view.position) == (2, position))
    await work.stop(task)
    await connection.close(None)


async def test_the_sdk_learns_of_the_epochs(validation: Serving, work: Work) -> None:
    first = (await validation.facts.log("token_issuer")).head
    last = (await first()).position
    async with validation.facts.database.connection() as connection:
        await connection.execute("UPDATE log.epochs SET system_identifier = system_identifier + 1")
        await connection.execute("UPDATE log.head SET server_started_at = now() - interval '1 day'")
    await deny(validation, "a")
    connection_ = channel(validation.address, validation.parties.resource("stagehands"), "token_issuer")
    view, feed = DenialView(), GrpcFeed(connection_, renew_seconds=0.5)
    task = work.start(feed.run(view))
    await eventually(lambda: view.epoch > 1)
    assert not view.lost(1, last)
    assert view.lost(1, last + 1)
    await work.stop(task)
    await connection_.close(None)
