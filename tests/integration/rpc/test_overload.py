"""More calls than there is room for: turned away at once, and nobody else's business."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from infra.local.process import until
from shared.errors import Kind
from shared.rpc.client import translate
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.rpc.serving import OPEN, Servicer, first, refused, serving
from tests.support.parties import Parties
from tests.support.work import eventually

ASK = pb.ValidateRequest(token="t")
WATCH = pb.WatchDenialsRequest()


async def test_what_there_is_no_room_for_is_exhausted_at_once_and_the_rest_is_answered(parties: Parties) -> None:
    leave = asyncio.Event()

    async def hold(_: pb.ValidateRequest) -> None:
        await leave.wait()

    async with (
        serving(parties, OPEN, servicer=Servicer(hold), calls_at_once=5) as running,
        running.connected(parties.operator()) as validation,
    ):
        held = [asyncio.ensure_future(_ask(validation)) for _ in range(5)]
        await eventually(lambda: running.servicer.requests == 5)
        async with asyncio.timeout(5):
            errors = await asyncio.gather(*(refused(validation.Validate(ASK)) for _ in range(40)))
        assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert {translate(error).kind for error in errors} == {Kind.EXHAUSTED}
        assert running.servicer.requests == 5
        leave.set()
        assert all(answer.allowed for answer in await asyncio.gather(*held))
        assert (await validation.Validate(ASK)).allowed, "there is room again at once"


async def test_the_streams_of_one_caller_leave_room_for_others(parties: Parties) -> None:
    async with (
        serving(parties, OPEN, streams_each=3) as running,
        running.connected(parties.resource("greedy")) as greedy,
        running.connected(parties.resource("modest")) as modest,
    ):
        opened = [greedy.WatchDenials(WATCH) for _ in range(3)]
        assert [(await first(stream)).heartbeat.position for stream in opened] == [1, 1, 1]
        error = await refused(first(greedy.WatchDenials(WATCH)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert translate(error).code == "too_many_streams"
        assert (await first(modest.WatchDenials(WATCH))).heartbeat.position == 1
        assert (await greedy.Validate(ASK)).allowed, "calls with one answer are no streams"
        opened.pop().cancel()

        async def again() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return bool((await first(greedy.WatchDenials(WATCH))).heartbeat.position)
            return False

        assert await until(again, 10)


async def test_a_message_in_a_stream_past_the_limit_ends_that_stream_alone(parties: Parties) -> None:
    async with (
        serving(parties, OPEN, message_bytes=10_000) as running,
        running.connected(parties.operator()) as validation,
    ):

        async def batches() -> AsyncIterator[pb.ValidateBatchRequest]:
            yield pb.ValidateBatchRequest(requests=[ASK])
            yield pb.ValidateBatchRequest(requests=[pb.ValidateRequest(token="x" * 20_000)])

        answers = aiter(validation.ValidateStream(batches()))
        assert len((await anext(answers)).responses) == 1
        assert (await refused(anext(answers))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await validation.Validate(ASK)).allowed


async def _ask(validation: Any) -> pb.ValidateResponse:
    answer: pb.ValidateResponse = await validation.Validate(ASK, timeout=20)
    return answer
