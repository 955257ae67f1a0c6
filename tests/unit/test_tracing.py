"""Which courses are traced, what a trace is made of, and that nothing is done while tracing is off."""

import os
import subprocess
import sys
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from services.registry import events as registry
from shared.ids import new_command_id, new_id
from shared.log.append import Append, Context
from shared.telemetry import accept_correlation, correlation
from shared.tracing import sampling, spans
from tests.support.spans import Traced
from tests.support.spans import traced as traced  # noqa: PLC0414  (a fixture)


@pytest.fixture
def everything(traced: Traced) -> Traced:
    traced.begin()
    correlation.set(new_id())
    return traced


@pytest.fixture
def half() -> Iterator[None]:
    sampling.begin(0.5)
    yield
    sampling.begin(0)


def _ids(span: ReadableSpan) -> tuple[int, int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id, 0 if span.parent is None else span.parent.span_id


def _append(context: Context) -> Append:
    return Append("application-x", 1, (registry.ApplicationDisabled(client_id="x", reason="it misbehaves"),), context)


def _written(context: Context, *, ago: float = 0.0) -> Any:
    return SimpleNamespace(
        correlation_id=context.correlation_id,
        command_id=context.command_id,
        position=7,
        recorded_at=datetime.now(UTC) - timedelta(seconds=ago),
    )


def test_a_course_is_traced_by_opentelemetrys_own_rule(half: None) -> None:
    rule = TraceIdRatioBased(0.5)
    found = set()
    for course in (new_id() for _ in range(200)):
        trace_id = int.from_bytes(urlsafe_b64decode(f"{course}=="))
        wanted = rule.should_sample(None, trace_id, "x").decision is Decision.RECORD_AND_SAMPLE
        assert sampling.traced(course) == (trace_id if wanted else 0)
        found.add(wanted)
    assert found == {True, False}


def test_an_id_from_outside_never_makes_a_course_traced(half: None) -> None:
    for course in (new_id() for _ in range(200)):
        taken = accept_correlation(course)
        assert (taken == course) == (not sampling.traced(course))
        assert accept_correlation(course, trusted=True) == course
    assert any(sampling.traced(accept_correlation("none")) for _ in range(100)), "ids of our own are traced"


@pytest.mark.parametrize("course", ["", "x", "é" * 22, "A" * 22, "A" * 40])
def test_what_is_no_course_is_not_traced(half: None, course: str) -> None:
    assert sampling.traced(course) == 0


def test_a_trace_goes_through_the_log_by_the_ids_of_the_event(everything: Traced) -> None:
    context = Context("service:test", correlation.get(), new_command_id())
    request = spans.of_http("POST", [])
    assert request is not None
    spans.appended(_append(context), 1, position=7)
    spans.answered(request, {"http.response.status_code": 200}, name="POST /x")
    relay = spans.relaying(_written(context), "registry.ApplicationDisabled")
    assert relay is not None
    spans.relayed(relay)
    spans.projected([_written(context)], "applications", "registry", 1)
    append, first, relayed, projected = everything.finished()
    trace_id = int.from_bytes(urlsafe_b64decode(f"{context.correlation_id}=="))
    assert {_ids(span)[0] for span in (append, first, relayed, projected)} == {trace_id}
    assert _ids(first)[2] == 0
    assert _ids(append)[1:] == (context.command_id.int % (1 << 64), _ids(first)[1])
    assert {_ids(relayed)[2], _ids(projected)[2]} == {_ids(append)[1]}
    assert first.name == "POST /x"


def test_an_append_that_is_tried_again_has_the_events_id_only_once(everything: Traced) -> None:
    context = Context("service:test", correlation.get(), new_command_id())
    spans.appended(_append(context), 1, refused="version_conflict")
    spans.appended(_append(context), 2, position=7)
    refused, written = everything.finished()
    assert not refused.status.is_ok
    assert _ids(refused)[1] != _ids(written)[1] == context.command_id.int % (1 << 64)


def test_what_happened_long_ago_is_not_traced_again(everything: Traced) -> None:
    context = Context("service:test", correlation.get(), new_command_id())
    assert spans.relaying(_written(context, ago=61), "registry.ApplicationDisabled") is None
    spans.projected([_written(context, ago=61)], "applications", "registry", 1)
    assert not everything.finished()


@pytest.mark.parametrize(
    "given",
    [
        ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] * 2,
        ["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
        ["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
        ["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
        ["01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
        ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"],
        ["secret"],
        [],
    ],
)
def test_a_traceparent_that_is_none_is_ignored(everything: Traced, given: list[str]) -> None:
    request = spans.of_http("GET", given)
    assert request is not None
    spans.answered(request, {})
    (span,) = everything.finished()
    assert not span.links
    assert span.parent is None


def test_only_a_service_of_the_instance_is_believed(everything: Traced) -> None:
    trace_id = sampling.traced(correlation.get())
    ours = f"00-{trace_id:032x}-00f067aa0ba902b7-01"
    other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for given, trusted in ((ours, True), (ours, False), (other, True)):
        begun = spans.of_rpc("/x/Y", [given], trusted=trusted)
        assert begun is not None
        spans.answered(begun, {})
    inside, *strangers = everything.finished()
    assert _ids(inside) == (trace_id, _ids(inside)[1], 0x00F067AA0BA902B7)
    assert len(strangers) == 2
    for span in strangers:
        assert _ids(span)[0] == trace_id
        assert span.parent is None
        assert len(span.links) == 1


def test_a_call_outside_of_a_request_has_no_span(everything: Traced) -> None:
    assert spans.calling("/x/Y") is None


_OFF = """
import sys
from shared.tracing import sampling, spans
spans.begin("test", {ratio})
import services.registry.main
found = [name for name in sys.modules if name.startswith("opentelemetry")]
print(spans.active, sampling.traced("A" * 21 + "w"), found)
"""


@pytest.mark.parametrize(
    ("ratio", "more"),
    [
        (1, {}),
        (0, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}),
        (1, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}),
    ],
)
def test_nothing_of_it_is_even_loaded_while_it_is_off(ratio: int, more: dict[str, str]) -> None:
    assert _python(_OFF.format(ratio=ratio), more) == (0, "False 0 []", "")


def test_another_protocol_than_is_spoken_is_refused() -> None:
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    status, _, said = _python("from shared.tracing import spans; spans.begin('test', 1)", more)
    assert (status, said) == (1, "stagedoor: setting OTEL_EXPORTER_OTLP_PROTOCOL: spans go by grpc alone")


def test_a_collector_that_is_away_holds_nobody_up() -> None:
    script = """
import time
from shared.telemetry import configure_logging, correlation, new_correlation
from shared.tracing import spans
configure_logging("test", "critical")
spans.begin("test", 1)
for _ in range(5000):
    correlation.set(new_correlation())
    spans.answered(spans.of_http("GET", []), {})
began = time.monotonic()
spans.end()
print(time.monotonic() - began < 20)
"""
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "GRPC_VERBOSITY": "NONE"}
    assert _python(script, more)[:2] == (0, "True")


def _python(script: str, more: dict[str, str]) -> tuple[int, str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | more
    paths = os.pathsep.join(path for path in sys.path if path)
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.strip(), ended.stderr.strip()
