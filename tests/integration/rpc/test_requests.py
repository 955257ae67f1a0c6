"""What may come in, what goes out, and what a caller learns when something is wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from prometheus_client import REGISTRY

from shared.errors import Kind, Refusal, Unavailable
from shared.ids import new_id
from shared.rpc.client import channel, translate
from shared.rpc.status import CODES, DETAILS
from shared.telemetry import correlation
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.rpc.serving import NAME, OPEN, VALIDATE, Running, Servicer, first, refused, serving
from tests.support.log_lines import LogLines
from tests.support.parties import Parties

ASK = pb.ValidateRequest(token="t")
UNKNOWN = b"\xa2\x06\x03abc"
"""Field 100, three bytes."""


def _raising(failure: Exception) -> Callable[[pb.ValidateRequest], Awaitable[None]]:
    async def behave(_: pb.ValidateRequest) -> None:
        raise failure

    return behave


async def _raw(running: Running, parties: Parties, method: str, content: bytes) -> Any:
    """Send bytes as they are, to a method of one request or of many."""
    async with channel(running.address, parties.operator(), "token_issuer") as connection:
        if method == "ValidateStream":
            return await first(connection.stream_stream(f"/{NAME}/{method}", None, None)(iter([b"", content])))
        if method == "WatchDenials":
            return await first(connection.unary_stream(f"/{NAME}/{method}", None, None)(content))
        return await connection.unary_unary(f"/{NAME}/{method}", None, None)(content)


def _nested(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2, len(content)]) + content


@pytest.mark.parametrize(
    ("method", "content"),
    [
        ("Validate", ASK.SerializeToString() + UNKNOWN),
        ("Validate", ASK.SerializeToString() + _nested(5, UNKNOWN)),
        ("ValidateBatch", _nested(1, ASK.SerializeToString()) + _nested(1, _nested(5, UNKNOWN))),
        ("WatchDenials", UNKNOWN),
        # A known field under another wire type is not the known field.
        ("Validate", b"\x08\x01"),
    ],
)
async def test_a_field_that_is_not_known_is_refused_however_deep(parties: Parties, method: str, content: bytes) -> None:
    async with serving(parties, OPEN) as running:
        refusal = translate(await refused(_raw(running, parties, method, content)))
        assert (refusal.kind, refusal.code) == (Kind.INVALID, "unknown_field")
        assert running.servicer.requests == 0


async def test_a_field_that_is_not_known_ends_a_stream_of_requests(parties: Parties) -> None:
    async with (
        serving(parties, OPEN) as running,
        channel(running.address, parties.operator(), "token_issuer") as connection,
    ):
        stream = connection.stream_stream(f"/{NAME}/ValidateStream", None, None)(
            iter([_nested(1, ASK.SerializeToString()), _nested(1, UNKNOWN)])
        )
        answers: Any = aiter(stream)
        assert len(pb.ValidateBatchResponse.FromString(await anext(answers)).responses) == 1
        assert translate(await refused(anext(answers))).code == "unknown_field"


@pytest.mark.parametrize("method", ["Validate", "WatchDenials"])
async def test_bytes_that_are_no_message_are_refused(parties: Parties, method: str) -> None:
    async with serving(parties, OPEN) as running:
        refusal = translate(await refused(_raw(running, parties, method, b"\x0a\xff\x01not a message")))
        assert (refusal.kind, refusal.code) == (Kind.INVALID, "malformed_request")
        assert running.servicer.requests == 0


async def test_a_text_that_is_not_utf_8_is_refused(parties: Parties) -> None:
    async with serving(parties, OPEN) as running:
        refusal = translate(await refused(_raw(running, parties, "Validate", _nested(1, b"\xff\xfe"))))
        assert (refusal.kind, refusal.code) == (Kind.INVALID, "malformed_request")


async def test_every_known_field_passes(parties: Parties) -> None:
    full = pb.ValidateRequest(
        token="t",
        audience="a",
        scopes=["read", "update"],
        minimum_position=9,
        with_claims=True,
        proof=pb.Proof(method="GET", uri="u", dpop="d", client_certificate=b"\0c"),
    )
    async with serving(parties, OPEN) as running, running.connected(parties.operator()) as validation:
        assert (await validation.Validate(full)).allowed
        answers = [
            answer
            async for answer in validation.ValidateStream(iter([pb.ValidateBatchRequest(requests=[full, full])] * 3))
        ]
        assert [len(answer.responses) for answer in answers] == [2, 2, 2]


async def test_a_message_past_the_limit_is_refused(parties: Parties) -> None:
    async with (
        serving(parties, OPEN, message_bytes=10_000) as running,
        running.connected(parties.operator()) as validation,
    ):
        error = await refused(validation.Validate(pb.ValidateRequest(token="x" * 20_000)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert translate(error).kind is Kind.EXHAUSTED
        assert running.servicer.requests == 0
        assert (await validation.Validate(pb.ValidateRequest(token="x" * 9_000))).allowed


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.UNAVAILABLE])
async def test_a_refusal_arrives_as_it_was_raised(parties: Parties, kind: Kind) -> None:
    raised = Refusal(kind, "some_reason", "it is so: größer")
    async with (
        serving(parties, OPEN, servicer=Servicer(_raising(raised))) as running,
        running.connected(parties.operator()) as validation,
    ):
        error = await refused(validation.Validate(ASK))
        assert error.code() is CODES[kind]
        arrived = translate(error)
        assert (arrived.kind, arrived.code, arrived.message) == (kind, "some_reason", "it is so: größer")
        # The same in the midst of a stream.
        batch = pb.ValidateBatchRequest(requests=[ASK])
        assert translate(await refused(first(validation.ValidateStream(iter([batch]))))).code == "some_reason"


async def test_the_details_are_as_the_standard_has_them(parties: Parties) -> None:
    async with (
        serving(parties, OPEN, servicer=Servicer(_raising(Refusal(Kind.CONFLICT, "busy", "b")))) as running,
        running.connected(parties.operator()) as validation,
    ):
        error = await refused(validation.Validate(ASK))
        trailing: Any = error.trailing_metadata()
        status = Status.FromString(dict(trailing)[DETAILS])
        info = ErrorInfo()
        assert status.details[0].Unpack(info)
        assert (status.code, info.reason, info.domain) == (10, "busy", "stagedoor")
        assert info.metadata["correlation_id"] == running.servicer.correlations[0]


async def test_unavailable_says_when_to_try_again(parties: Parties) -> None:
    async with (
        serving(parties, OPEN, servicer=Servicer(_raising(Unavailable("busy", "b", retry_after=2.5)))) as running,
        running.connected(parties.operator()) as validation,
    ):
        arrived = translate(await refused(validation.Validate(ASK)))
        assert isinstance(arrived, Unavailable)
        assert (arrived.code, arrived.retry_after) == ("busy", 2.5)


async def test_what_is_unforeseen_is_logged_with_its_course_and_told_to_nobody(
    parties: Parties, log_lines: LogLines
) -> None:
    failure = ValueError("cannot use hunter2-of-the-request")
    async with (
        serving(parties, OPEN, servicer=Servicer(_raising(failure))) as running,
        running.connected(parties.operator()) as validation,
    ):
        batch = pb.ValidateBatchRequest(requests=[ASK])
        for error in (
            await refused(validation.Validate(ASK)),
            await refused(first(validation.ValidateStream(iter([batch])))),
        ):
            assert error.code() is grpc.StatusCode.INTERNAL
            assert isinstance(translate(error), Unavailable)
            assert translate(error).code == "internal"
            assert "hunter2" not in repr(error)
            assert "ValueError" not in repr(error)
    lines = log_lines.named("rpc_failed")
    assert [line["method"] for line in lines] == [VALIDATE, f"/{NAME}/ValidateStream"]
    assert "builtins.ValueError" in lines[0]["course"]
    assert "raise failure" in lines[0]["course"]
    assert lines[0]["correlation_id"] == running.servicer.correlations[0]
    assert "hunter2" not in log_lines.text


async def test_a_call_without_a_deadline_gets_one(parties: Parties) -> None:
    async def never(_: pb.ValidateRequest) -> None:
        await asyncio.Event().wait()

    credentials = parties.operator().channel_credentials()
    async with (
        serving(parties, OPEN, servicer=Servicer(never), unary_seconds=0.2) as running,
        grpc.aio.secure_channel(running.address, credentials) as plain,
    ):
        bare: Any = plain.unary_unary(VALIDATE, None, None)
        error = await refused(bare(b""))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert translate(error).code == "deadline_exceeded"
        # A caller's own deadline is its own affair, and ours is not added to it.
        async with running.connected(parties.operator()) as validation:
            error = await refused(validation.Validate(ASK, timeout=0.5))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_channel_sets_a_deadline_for_calls_with_one_answer(parties: Parties) -> None:
    left: list[float] = []

    class Noting(Servicer):
        async def Validate(self, request: pb.ValidateRequest, context: Any) -> pb.ValidateResponse:  # noqa: N802
            left.append(context.time_remaining())
            return await super().Validate(request, context)

    async with (
        serving(parties, OPEN, servicer=Noting()) as running,
        running.connected(parties.operator()) as validation,
    ):
        await validation.Validate(ASK)
        await validation.Validate(ASK, timeout=50)
    assert 3 < left[0] < 6
    assert 45 < left[1] < 55


async def test_the_correlation_id_travels_and_is_not_taken_from_just_anybody(parties: Parties) -> None:
    current = new_id()
    async with serving(parties, OPEN) as running, running.connected(parties.operator()) as validation:
        token = correlation.set(current)
        try:
            await validation.Validate(ASK)
            await first(validation.WatchDenials(pb.WatchDenialsRequest()))
        finally:
            correlation.reset(token)
        await validation.Validate(ASK, metadata=(("correlation-id", '","level":"none'),))
        await validation.Validate(ASK)
        seen = running.servicer.correlations
        assert seen[:2] == [current, current]
        assert len({len(one) for one in seen}) == 1
        assert len(set(seen)) == 3


async def test_a_service_that_is_not_there_is_unavailable(parties: Parties) -> None:
    async with serving(parties, OPEN) as running:
        address = running.address
    gone = Running(running.server, running.servicer, address)
    async with gone.connected(parties.operator()) as validation:
        arrived = translate(await refused(validation.Validate(ASK)))
        assert isinstance(arrived, Unavailable)
        assert arrived.code == "peer_unavailable"
        assert address not in arrived.message


async def test_calls_are_counted_by_method_and_status(parties: Parties) -> None:
    def count(code: str) -> float:
        labels = {"method": VALIDATE, "code": code}
        return REGISTRY.get_sample_value("stagedoor_rpc_requests_total", labels) or 0.0

    async def odd(request: pb.ValidateRequest) -> None:
        if request.token == "odd":
            raise Refusal(Kind.NOT_FOUND, "not_found", "n")

    before = count("OK"), count("NOT_FOUND")
    async with (
        serving(parties, OPEN, servicer=Servicer(odd)) as running,
        running.connected(parties.operator()) as validation,
    ):
        await validation.Validate(ASK)
        await refused(validation.Validate(pb.ValidateRequest(token="odd")))
    assert (count("OK"), count("NOT_FOUND")) == (before[0] + 1, before[1] + 1)
    assert (REGISTRY.get_sample_value("stagedoor_rpc_request_seconds_count", {"method": VALIDATE}) or 0) >= 2


async def test_a_method_may_end_a_call_by_itself(parties: Parties) -> None:
    class Aborting(Servicer):
        async def Validate(self, request: pb.ValidateRequest, context: Any) -> pb.ValidateResponse:  # noqa: ARG002, N802
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "so")
            raise AssertionError("unreachable")

    async with (
        serving(parties, OPEN, servicer=Aborting()) as running,
        running.connected(parties.operator()) as validation,
    ):
        assert (await refused(validation.Validate(ASK))).code() is grpc.StatusCode.OUT_OF_RANGE


async def test_requests_of_a_stream_are_taken_one_by_one(parties: Parties) -> None:
    """An answer does not wait for the end of the requests."""
    go_on = asyncio.Event()

    async def requests() -> AsyncIterator[pb.ValidateBatchRequest]:
        yield pb.ValidateBatchRequest(requests=[ASK])
        await go_on.wait()
        yield pb.ValidateBatchRequest(requests=[ASK, ASK])

    async with serving(parties, OPEN) as running, running.connected(parties.operator()) as validation:
        answers = aiter(validation.ValidateStream(requests()))
        assert len((await anext(answers)).responses) == 1
        go_on.set()
        assert len((await anext(answers)).responses) == 2
