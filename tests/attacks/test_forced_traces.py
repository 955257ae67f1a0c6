"""A stranger asks for each of its requests to be traced, by every means that there is, to make them dear."""

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.http.operations import Readiness
from shared.http.serve import layers
from shared.ids import new_id
from shared.telemetry import correlation
from shared.tracing import sampling
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.rpc.serving import OPEN, serving
from tests.support.parties import Parties
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture)
from tests.support.spans import Traced
from tests.support.spans import traced as traced  # noqa: PLC0414  (a fixture)

_SECRET = "hunter2-hunter2"


def _course(*, met: bool) -> str:
    """An id with which a course is traced, or not."""
    while bool(sampling.traced(course := new_id())) is not met:
        pass
    return course


def _hexadecimal(course: str) -> str:
    return f"{sampling.traced(course):032x}"


async def _ready() -> Readiness:
    return Readiness()


async def _answer(request: Request) -> Response:
    await request.body()
    return Response(correlation.get())


async def test_over_http_the_share_that_is_traced_stays_the_ratio(traced: Traced) -> None:
    traced.begin(0.1)
    app = layers(Starlette(routes=[Route("/orders/{order}", _answer, methods=["POST"])]), _ready, 100)
    forced = [_course(met=True) for _ in range(300)]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answers = [
            await client.post(
                f"/orders/{_SECRET}",
                params={"code": _SECRET},
                content=_SECRET,
                headers={
                    "correlation-id": course,
                    "traceparent": f"00-{_hexadecimal(course)}-00f067aa0ba902b7-01",
                    "tracestate": f"vendor={_SECRET}",
                    "baggage": f"user={_SECRET}",
                    "authorization": f"Bearer {_SECRET}",
                    "cookie": f"session={_SECRET}",
                },
            )
            for course in forced
        ]
        kept = _course(met=False)
        assert (await client.post("/orders/1", headers={"correlation-id": kept})).text == kept
    assert not {answer.text for answer in answers} & set(forced)
    finished = traced.finished()
    assert 0 < len(finished) < 100
    for span in finished:
        assert span.name == "POST /orders/{order}"
        assert _SECRET not in span.to_json()


async def test_a_resource_of_another_team_is_a_stranger_too(traced: Traced, parties: Parties) -> None:
    traced.begin(0.5)
    forced = [_course(met=True) for _ in range(20)]
    async with serving(parties, OPEN) as running:
        for tls in (parties.resource("stagehands"), parties.service("identity")):
            async with running.connected(tls) as validation:
                for course in forced:
                    await validation.Validate(pb.ValidateRequest(), metadata=(("correlation-id", course),))
        strange, own = running.servicer.correlations[:20], running.servicer.correlations[20:]
    assert not set(strange) & set(forced)
    assert own == forced
    assert len([call for call in running.servicer.calls if call.correlation_id in forced]) == 20
