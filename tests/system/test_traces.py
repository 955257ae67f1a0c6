"""One trace tells of a change from the request to the read models of other services, and holds nothing of anybody."""

import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from urllib.parse import quote_plus

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from infra.local.ports import SERVICES
from infra.local.sign_in import CodeFlow
from infra.local.system import System
from protos.stagedoor.registry.v1 import registry_pb2
from shared.ids import new_id
from tests.support.collector import Collector, Kept, collecting
from tests.support.measured import documented, scraped
from tests.support.outside import SCOPE, Outside, Person
from tests.support.system import running_system
from tests.support.work import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

_PATIENCE = 30.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced(collector: Collector) -> AsyncIterator[System]:
    """A system that traces everything."""
    async with running_system(settings=collector.settings) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outside(traced: System) -> AsyncIterator[Outside]:
    async with Outside(traced) as made:
        yield made


def _trace_of(course: str) -> str:
    return urlsafe_b64decode(f"{course}==").hex()


def _named(spans: list[Kept], service: str, start: str) -> list[Kept]:
    return [span for span in spans if span.service == service and span.name.startswith(start)]


async def test_a_change_is_traced_from_the_call_to_the_read_models_of_others(
    traced: System, outside: Outside, collector: Collector
) -> None:
    app = await outside.register_app()
    course = new_id()
    trace = _trace_of(course)
    await outside.registry.DisableApplication(
        registry_pb2.DisableApplicationRequest(client_id=app.client_id, reason="it misbehaves"),
        metadata=(("authorization", f"Bearer {outside.administrator}"), ("correlation-id", course)),
    )

    def whole() -> bool:
        found = {(span.service, span.name.split(" ")[0]) for span in collector.of(trace)}
        call = ("registry", "/stagedoor.registry.v1.Registry/DisableApplication")
        follow = {("identity", "project"), ("token_issuer", "project")}
        return found >= {call, ("registry", "append"), ("ledger", "relay"), *follow}

    await eventually(whole, _PATIENCE)
    spans = collector.of(trace)
    (call,) = _named(spans, "registry", "/stagedoor.registry.v1.Registry/DisableApplication")
    (append,) = _named(spans, "registry", "append registry.ApplicationDisabled")
    (relay,) = _named(spans, "ledger", "relay registry.ApplicationDisabled")
    projections = [span for span in spans if span.name.startswith("project ")]
    assert (call.parent_id, append.parent_id) == ("", call.span_id)
    assert {span.parent_id for span in (relay, *projections)} == {append.span_id}
    assert {span.service for span in projections} == {"identity", "token_issuer"}
    position = append.attributes["stagedoor.position"]
    assert {span.attributes["stagedoor.position"] for span in (relay, *projections)} == {position}
    assert not any(span.failed for span in spans)


async def test_a_sign_in_is_traced_and_its_spans_hold_nothing_that_was_sent(
    traced: System, outside: Outside, collector: Collector
) -> None:
    (freddie,) = [user for user in traced.demo["users"] if user["name"] == "freddie"]
    person = Person(outside, "freddie", freddie["password"], freddie["sub"])
    app = outside.demo_app()
    given = await person.use(app)
    cookies = [cookie.value for cookie in person.browser.browser.cookies.jar]
    assert cookies

    def issued() -> bool:
        return bool(_named(collector.spans, "token_issuer", "/stagedoor.tokens.v1.Authorization/IssueCode"))

    await eventually(issued, _PATIENCE)
    (issue, *_) = _named(collector.spans, "token_issuer", "/stagedoor.tokens.v1.Authorization/IssueCode")
    await eventually(lambda: bool(_named(collector.of(issue.trace_id), "ledger", "relay token_issuer.")), _PATIENCE)
    trace = collector.of(issue.trace_id)
    (page,) = [span for span in trace if not span.parent_id]
    assert page.service == "identity"
    assert page.attributes["http.route"].startswith("/id/")
    (call,) = [span for span in trace if span.name == f"call {issue.name}"]
    assert (call.service, call.parent_id, issue.parent_id) == ("identity", page.span_id, call.span_id)

    secret = [freddie["password"], given.code, given.access_token, given.refresh_token, given.id_token]
    secret += [app.secret, given.flow.verifier, *cookies, "freddie", freddie["sub"], "127.0.0.1", app.redirect_uri]
    for value in secret:
        for text in {value, quote_plus(value)}:
            guilty = {span.name for span in collector.spans if text.encode() in span.raw}
            assert not guilty, f"a value of length {len(text)} is in a span"


async def test_a_stranger_chooses_no_trace(traced: System, outside: Outside, collector: Collector) -> None:
    theirs, trace = new_id(), "4bf92f3577b34da6a3ce929d0e0e4736"
    flow = CodeFlow(outside.issuer, outside.demo_app().client_id, outside.demo_app().redirect_uri, SCOPE)
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(
            flow.address,
            headers={"correlation-id": theirs, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
        )
    ours = answer.headers["correlation-id"]
    assert ours != theirs

    def linked() -> bool:
        return any(trace in span.links for span in collector.spans)

    await eventually(linked, _PATIENCE)
    assert not collector.of(trace)
    (span,) = [span for span in collector.spans if trace in span.links]
    assert span.trace_id == _trace_of(ours)


async def test_lines_of_the_log_name_the_trace(traced: System, collector: Collector) -> None:
    traces = {span.trace_id for span in collector.spans}
    for service in ("identity", "token_issuer"):
        text = traced.home.logs.joinpath(f"{service}.log").read_text()
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        named = {line["trace_id"] for line in lines if "trace_id" in line}
        assert named & traces, service


async def test_every_metric_of_a_running_system_is_explained_and_no_other(traced: System, outside: Outside) -> None:
    told = {service: await _metrics(traced, outside, service) for service in SERVICES}
    for service, text in told.items():
        assert scraped(text) <= set(documented()), service
        ages = _values(text, "stagedoor_guard_view_age_seconds")
        assert ages, "each service has a guard"
        assert max(ages) < 30
    assert set.union(*map(scraped, told.values())) == set(documented())
    assert sum(_values(told["ledger"], "stagedoor_feed_denial_delay_seconds_count")) > 0
    # The guards of the resource service are fed over NATS, those of the issuer from the log.
    for service in ("resource", "token_issuer"):
        assert sum(_values(told[service], "stagedoor_guard_denial_delay_seconds_count")) > 0
    assert len(_values(told["ledger"], "stagedoor_relay_lag_seconds")) == 1


async def _metrics(system: System, outside: Outside, service: str) -> str:
    return (await outside.http.get(f"http://127.0.0.1:{system.ports.http(service)}/metrics")).text


def _values(text: str, name: str) -> list[float]:
    families = text_string_to_metric_families(text)
    return [sample.value for family in families for sample in family.samples if sample.name == name]
