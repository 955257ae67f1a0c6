"""A call of one service by another is two spans of one trace, and both say how it ended."""

from opentelemetry.sdk.trace import ReadableSpan

from shared.errors import Kind, Refusal
from shared.telemetry import correlation, new_correlation
from shared.tracing import spans
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.rpc.serving import OPEN, VALIDATE, Servicer, refused, serving
from tests.support.parties import Parties
from tests.support.spans import Traced
from tests.support.spans import traced as traced  # noqa: PLC0414  (a fixture)
from tests.support.work import eventually


def _parent(span: ReadableSpan) -> int:
    return 0 if span.parent is None else span.parent.span_id


def _own(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


async def test_a_call_is_below_the_request_that_made_it(traced: Traced, parties: Parties) -> None:
    async def refuse(_: pb.ValidateRequest) -> None:
        raise Refusal(Kind.NOT_FOUND, "not_here", "it is not here")

    servicer = Servicer()
    traced.begin()
    async with (
        serving(parties, OPEN, servicer=servicer) as running,
        running.connected(parties.service("identity")) as peer,
    ):
        await peer.Validate(pb.ValidateRequest())
        correlation.set(new_correlation())
        request = spans.of_http("POST", [])
        assert request is not None
        await peer.Validate(pb.ValidateRequest())
        servicer.behave = refuse
        await refused(peer.Validate(pb.ValidateRequest()))
        await eventually(lambda: not spans._ending)
        spans.answered(request, {})
    found = traced.finished()
    called = [span for span in found if span.name == f"call {VALIDATE}"]
    served = [span for span in found if span.name == VALIDATE]
    (first,) = [span for span in found if span.name == "POST"]
    assert [_parent(span) for span in called] == [_own(first)] * 2, "what is outside of a request is no part of one"
    assert {_parent(span) for span in served} == {0, *map(_own, called)}
    codes = [(span.attributes or {})["rpc.grpc.status_code"] for span in (*called, *served)]
    assert sorted(codes, key=str) == [0, 0, 0, 5, 5]
    failed = [span.name for span in found if not span.status.is_ok]
    assert failed == [f"call {VALIDATE}"], "a refusal is no fault of whoever refuses"
