"""Online validation and watched denials over real gRPC; the issuer is played by the test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from stagedoor.clock import since_boot
from stagedoor.denials import DenialKind, DenialView
from stagedoor.feed import OnlineError
from stagedoor.grpc import GrpcFeed, GrpcOnline
from stagedoor.validation.v1 import validation_pb2 as messages
from stagedoor.validation.v1.validation_pb2_grpc import ValidationServicer, add_ValidationServicer_to_server
from stagedoor.verdict import Allowed, Denied, Reason
from tests.support.sdk_tokens import SigningKey, claims, guard

_BEAT = 0.03


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until it holds."""
    deadline = since_boot() + seconds
    while not holds():
        assert since_boot() < deadline, "it did not come to hold"
        await asyncio.sleep(0.005)


class Issuer(ValidationServicer):
    """Denials from a list; verdicts as told."""

    def __init__(self) -> None:
        self.position = 10
        self.denials: list[messages.Denial] = []
        self.verdict = messages.ValidateResponse(allowed=True, position=10)
        self.asked: list[messages.ValidateRequest] = []
        self.watches: list[messages.WatchDenialsRequest] = []
        self.failure: grpc.StatusCode | None = None
        self.lost: set[int] = set()
        self.changed = asyncio.Event()

    def deny(self, kind: str, name: str, rule: str = "standing") -> None:
        self.position += 1
        until_then = Timestamp()
        until_then.FromJsonString("2100-01-01T00:00:00Z")
        self.denials.append(
            messages.Denial(
                number=len(self.denials) + 1,
                position=self.position,
                epoch=1,
                kind=kind,
                id=name,
                rule=rule,
                until=until_then,
            )
        )
        self.changed.set()

    async def Validate(  # noqa: N802  (the RPC's name)
        self, request: messages.ValidateRequest, context: aio.ServicerContext[object, object]
    ) -> messages.ValidateResponse:
        self.asked.append(request)
        if self.failure is not None:
            await context.abort(self.failure, "as the test says")
        return self.verdict

    async def ValidateBatch(  # noqa: N802  (the RPC's name)
        self, request: messages.ValidateBatchRequest, _: aio.ServicerContext[object, object]
    ) -> messages.ValidateBatchResponse:
        raise AssertionError(f"nobody asks for {len(request.requests)} at once here")

    def ValidateStream(  # noqa: N802  (the RPC's name)
        self, request: AsyncIterator[messages.ValidateBatchRequest], _: aio.ServicerContext[object, object]
    ) -> AsyncIterator[messages.ValidateBatchResponse]:
        raise AssertionError(f"nobody streams here: {request}")

    async def WatchDenials(  # noqa: N802  (the RPC's name)
        self, request: messages.WatchDenialsRequest, context: aio.ServicerContext[object, object]
    ) -> AsyncIterator[messages.WatchDenialsResponse]:
        self.watches.append(request)
        if self.failure is not None:
            await context.abort(self.failure, "as the test says")
        sent = request.after_number
        if sent == 0:
            half = len(self.denials) // 2
            head: dict[str, Any] = {"position": self.position, "number": len(self.denials), "epoch": 1}
            sent = len(self.denials)
            for part, complete in ((self.denials[:half], False), (self.denials[half:], True)):
                page = messages.Snapshot(**head, denials=part, complete=complete)
                yield messages.WatchDenialsResponse(snapshot=page)
        while True:
            for denial in self.denials[sent:]:
                if denial.number not in self.lost:
                    yield messages.WatchDenialsResponse(denial=denial)
            sent = len(self.denials)
            beat = messages.Heartbeat(position=self.position, number=sent, epoch=1)
            yield messages.WatchDenialsResponse(heartbeat=beat)
            try:
                await asyncio.wait_for(self.changed.wait(), _BEAT)
            except TimeoutError:
                continue
            self.changed.clear()


@pytest.fixture
async def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def channel(issuer: Issuer) -> AsyncIterator[aio.Channel]:
    server = aio.server()
    add_ValidationServicer_to_server(issuer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as made:
        yield made
    await server.stop(None)


@pytest.fixture
async def running(channel: aio.Channel) -> AsyncIterator[tuple[DenialView, GrpcFeed]]:
    view, feed = DenialView(), GrpcFeed(channel, renew_seconds=0.2)
    task = asyncio.create_task(feed.run(view))
    await until(lambda: view.loaded)
    yield view, feed
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class TestOnline:
    async def test_the_question_is_complete(self, issuer: Issuer, channel: aio.Channel) -> None:
        answer = await GrpcOnline(channel).validate("t", audience="a", scopes=("update", "read"), min_position=7)
        assert (answer.allowed, answer.position) == (True, 10)
        (asked,) = issuer.asked
        assert (asked.token, asked.audience, list(asked.scopes), asked.minimum_position) == (
            "t",
            "a",
            ["read", "update"],
            7,
        )

    @pytest.mark.parametrize(
        "failure", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INTERNAL]
    )
    async def test_a_failed_call_is_no_answer(
        self, issuer: Issuer, channel: aio.Channel, failure: grpc.StatusCode
    ) -> None:
        issuer.failure = failure
        with pytest.raises(OnlineError, match=failure.name):
            await GrpcOnline(channel).validate("t", audience="a", scopes=(), min_position=0)

    async def test_a_guard_that_knows_nothing_asks(self, issuer: Issuer, channel: aio.Channel) -> None:
        key = SigningKey()
        checked = guard(key, loaded=False, online=GrpcOnline(channel))
        token = key.sign(claims())
        assert isinstance(await checked.validate(token, scopes=["read"]), Allowed)
        issuer.verdict = messages.ValidateResponse(allowed=False, reason="denied_subject")
        verdict = await checked.validate(token)
        assert isinstance(verdict, Denied)
        assert verdict.reason is Reason.DENIED_SUBJECT

    async def test_it_does_not_ask_about_what_it_can_refuse_by_itself(
        self, issuer: Issuer, channel: aio.Channel
    ) -> None:
        key = SigningKey()
        checked = guard(key, loaded=False, online=GrpcOnline(channel))
        assert isinstance(await checked.validate(SigningKey().sign(claims())), Denied)
        assert isinstance(await checked.validate(key.sign(claims(aud=["urn:other"]))), Denied)
        assert issuer.asked == []


class TestFeed:
    async def test_a_snapshot_then_denials_as_they_come(
        self, issuer: Issuer, running: tuple[DenialView, GrpcFeed]
    ) -> None:
        view, _ = running
        assert (view.position, view.epoch) == (10, 1)
        issuer.deny("client", "com.backstagehub/app")
        await until(lambda: view.number == 1)
        assert "com.backstagehub/app" in view._tables.marks[DenialKind.CLIENT]

    async def test_it_stays_fresh_by_beginning_anew(self, issuer: Issuer, running: tuple[DenialView, GrpcFeed]) -> None:
        view, _ = running
        issuer.deny("token", "jti-1")
        await until(lambda: len(issuer.watches) > 3)
        assert issuer.watches[-1].after_number == 1
        assert view.age(since_boot()) < 1
        issuer.failure = grpc.StatusCode.UNAVAILABLE
        await until(lambda: view.age(since_boot()) > 0.8)
        issuer.failure = None
        await until(lambda: view.age(since_boot()) < 0.4)

    async def test_a_lost_denial_is_noticed_and_made_up_for(
        self, issuer: Issuer, running: tuple[DenialView, GrpcFeed]
    ) -> None:
        view, _ = running
        issuer.lost = {1}
        issuer.deny("grant", "gid-1")
        await until(lambda: view.number == 1)
        assert "gid-1" in view._tables.marks[DenialKind.GRANT]

    async def test_a_ping_brings_the_position(self, issuer: Issuer, running: tuple[DenialView, GrpcFeed]) -> None:
        view, feed = running
        issuer.position = 77
        await feed.ping()
        assert view.position == 77

    async def test_a_kind_of_the_future_is_not_skipped(
        self, issuer: Issuer, running: tuple[DenialView, GrpcFeed]
    ) -> None:
        view, _ = running
        issuer.deny("of_next_year", "x")
        await until(lambda: view.age(since_boot()) > 0.8)
        assert view.number == 0
