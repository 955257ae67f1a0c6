"""Online validation and watched denials over real gRPC; the issuer is played by the test."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from stagedoor import online as online_module
from stagedoor.clock import since_boot
from stagedoor.denials import DenialKind, DenialView
from stagedoor.feed import Answer, OnlineError
from stagedoor.grpc import GrpcFeed, GrpcOnline
from stagedoor.validation.v1 import validation_pb2 as messages
from stagedoor.validation.v1.validation_pb2_grpc import ValidationServicer, add_ValidationServicer_to_server
from stagedoor.verdict import Allowed, Denied, Reason
from tests.support import reference_tokens
from tests.support.ports import free_port
from tests.support.sdk_tokens import AUDIENCE, SigningKey, claims, guard

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
        self.batches: list[list[messages.ValidateRequest]] = []
        self.streams = 0
        self.broken = 0
        self.going_on = asyncio.Event()
        self.going_on.set()
        self.watches: list[messages.WatchDenialsRequest] = []
        self.failure: grpc.StatusCode | None = None
        self.lost: set[int] = set()
        self.changed = asyncio.Event()

    @property
    def asked(self) -> list[messages.ValidateRequest]:
        return [question for batch in self.batches for question in batch]

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
        self, request: messages.ValidateRequest, _: aio.ServicerContext[object, object]
    ) -> messages.ValidateResponse:
        raise AssertionError(f"nobody asks one by one here: {request}")

    async def ValidateBatch(  # noqa: N802  (the RPC's name)
        self, request: messages.ValidateBatchRequest, _: aio.ServicerContext[object, object]
    ) -> messages.ValidateBatchResponse:
        raise AssertionError(f"nobody asks for {len(request.requests)} by themselves here")

    async def ValidateStream(  # noqa: N802  (the RPC's name)
        self, request: AsyncIterator[messages.ValidateBatchRequest], context: aio.ServicerContext[object, object]
    ) -> AsyncIterator[messages.ValidateBatchResponse]:
        self.streams += 1
        async for batch in request:
            self.batches.append(list(batch.requests))
            if self.failure is not None:
                await context.abort(self.failure, "as the test says")
            if self.broken > 0:
                self.broken -= 1
                return
            if any(question.audience == "urn:foreign" for question in batch.requests):
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not this caller's to ask")
            await self.going_on.wait()
            yield messages.ValidateBatchResponse(responses=[self.judge(question) for question in batch.requests])

    def judge(self, question: messages.ValidateRequest) -> messages.ValidateResponse:
        """The verdict as told; of a token named for a number, with that as its position."""
        if question.token.isdecimal():
            return messages.ValidateResponse(allowed=True, position=int(question.token))
        return self.verdict

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
        answer = await GrpcOnline(channel, timeout=30).validate(
            "t", audience="a", scopes=("update", "read"), min_position=7
        )
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
            await GrpcOnline(channel, timeout=30).validate("t", audience="a", scopes=(), min_position=0)

    async def test_many_callers_are_answered_each_with_its_own(self, issuer: Issuer, channel: aio.Channel) -> None:
        online = GrpcOnline(channel, timeout=30)

        async def ask(number: int) -> None:
            answer = await online.validate(str(number), audience="a", scopes=(), min_position=0)
            assert answer.position == number

        await asyncio.gather(*(ask(number) for number in range(2500)))
        assert issuer.streams == 1
        assert max(map(len, issuer.batches)) <= 1000
        assert len(issuer.batches) < 10
        assert len(issuer.asked) == 2500

    async def test_what_gathers_while_a_batch_is_under_way_is_the_next_batch(
        self, issuer: Issuer, channel: aio.Channel
    ) -> None:
        online = GrpcOnline(channel, timeout=30)
        issuer.going_on.clear()
        first = asyncio.create_task(online.validate("1", audience="a", scopes=(), min_position=0))
        await until(lambda: len(issuer.batches) == 1)
        later = [
            asyncio.create_task(online.validate(str(number), audience="a", scopes=(), min_position=0))
            for number in range(50)
        ]
        await asyncio.sleep(0)
        later[7].cancel()
        issuer.going_on.set()
        await asyncio.gather(first, *later, return_exceptions=True)
        assert [len(batch) for batch in issuer.batches] == [1, 49]

    async def test_an_audience_of_others_spoils_nobody_elses_question(
        self, issuer: Issuer, channel: aio.Channel
    ) -> None:
        online = GrpcOnline(channel, timeout=30)
        asked = [("1", "a"), ("2", "urn:foreign"), ("3", "a"), ("4", "urn:foreign"), ("5", "b")]
        answers = await asyncio.gather(
            *(online.validate(token, audience=audience, scopes=(), min_position=0) for token, audience in asked),
            return_exceptions=True,
        )
        assert [isinstance(answer, Answer) for answer in answers] == [True, False, True, False, True]
        assert all(len({question.audience for question in batch}) == 1 for batch in issuer.batches)

    async def test_a_stream_that_ends_is_opened_again_and_asked_once_more(
        self, issuer: Issuer, channel: aio.Channel
    ) -> None:
        online = GrpcOnline(channel, timeout=30)
        await online.validate("1", audience="a", scopes=(), min_position=0)
        issuer.broken = 1
        answer = await online.validate("2", audience="a", scopes=(), min_position=0)
        assert (answer.position, issuer.streams) == (2, 2)
        issuer.broken = 2
        with pytest.raises(OnlineError):
            await online.validate("3", audience="a", scopes=(), min_position=0)
        assert (await online.validate("4", audience="a", scopes=(), min_position=0)).position == 4

    async def test_who_is_not_answered_in_time_is_told(self, issuer: Issuer, channel: aio.Channel) -> None:
        online = GrpcOnline(channel, timeout=0.3)
        issuer.going_on.clear()
        begun = since_boot()
        with pytest.raises(OnlineError, match="in time"):
            await online.validate("1", audience="a", scopes=(), min_position=0)
        assert since_boot() - begun < 2
        issuer.going_on.set()
        patient = GrpcOnline(channel, timeout=30)
        assert (await patient.validate("2", audience="a", scopes=(), min_position=0)).position == 2

    async def test_too_many_questions_are_refused_at_once(
        self, issuer: Issuer, channel: aio.Channel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(online_module, "_MOST", 10)
        online = GrpcOnline(channel, timeout=30)
        answers = await asyncio.gather(
            *(online.validate(str(number), audience="a", scopes=(), min_position=0) for number in range(30)),
            return_exceptions=True,
        )
        assert [isinstance(answer, Answer) for answer in answers] == [True] * 10 + [False] * 20
        assert len(issuer.asked) == 10

    async def test_after_it_was_closed_who_waited_is_told(self, issuer: Issuer, channel: aio.Channel) -> None:
        online = GrpcOnline(channel, timeout=30)
        issuer.going_on.clear()
        asking = asyncio.create_task(online.validate("1", audience="a", scopes=(), min_position=0))
        await until(lambda: len(issuer.batches) == 1)
        await online.close()
        with pytest.raises(OnlineError):
            await asking

    async def test_while_the_issuer_is_gone_nobody_waits_long(self) -> None:
        port = free_port()
        async with aio.insecure_channel(f"127.0.0.1:{port}") as gone:
            online = GrpcOnline(gone, timeout=1.0)
            with pytest.raises(OnlineError):
                await online.validate("1", audience="a", scopes=(), min_position=0)
            issuer = Issuer()
            server = aio.server()
            add_ValidationServicer_to_server(issuer, server)
            server.add_insecure_port(f"127.0.0.1:{port}")
            await server.start()
            deadline, answer = since_boot() + 15, None
            while answer is None:
                assert since_boot() < deadline
                with suppress(OnlineError):
                    answer = await online.validate("1", audience="a", scopes=(), min_position=0)
            assert answer.position == 1
            await online.close()
            await server.stop(None)

    async def test_a_reference_token_is_looked_up_with_its_claims(self, issuer: Issuer, channel: aio.Channel) -> None:
        told = json.dumps(reference_tokens.claims())
        issuer.verdict = messages.ValidateResponse(allowed=True, position=1000, claims=told)
        checked = guard(SigningKey(), online=GrpcOnline(channel, timeout=30))
        token = reference_tokens.make()
        verdicts = await asyncio.gather(*(checked.validate(token) for _ in range(20)))
        assert all(isinstance(verdict, Allowed) for verdict in verdicts)
        (asked,) = issuer.asked
        assert (asked.token, asked.with_claims, asked.audience) == (token, True, AUDIENCE)

    async def test_a_guard_that_knows_nothing_asks(self, issuer: Issuer, channel: aio.Channel) -> None:
        key = SigningKey()
        checked = guard(key, loaded=False, online=GrpcOnline(channel, timeout=30))
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
        checked = guard(key, loaded=False, online=GrpcOnline(channel, timeout=30))
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
