"""OpenTelemetry's part: spans with ids that are given to it, and their way to a collector (OTLP over gRPC)."""

import os
import threading
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

_END_SECONDS: Final = 3.0
_LIMITS: Final = SpanLimits(max_attributes=16, max_attribute_length=200, max_events=0, max_links=1)


class GivenIds(IdGenerator):
    """The ids of the next span, where they are given; random ones otherwise. For the thread of the event loop alone."""

    def __init__(self) -> None:
        self.trace = 0
        self.span = 0
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        """Of the next trace."""
        given, self.trace = self.trace, 0
        return given or self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        """Of the next span."""
        given, self.span = self.span, 0
        return given or self._random.generate_span_id()


class Tracing:
    """The spans of this process, and where they go."""

    def __init__(self, service: str, exporter: SpanExporter) -> None:
        self._ids = GivenIds()
        # Whether something is traced has been decided before a span is begun (`shared.tracing.sampling`).
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.namespace": "stagedoor", "service.name": service}),
            id_generator=self._ids,
            shutdown_on_exit=False,
            span_limits=_LIMITS,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("stagedoor")

    def begin(  # noqa: PLR0913  (what a span is made of)
        self,
        name: str,
        kind: str,
        trace_id: int,
        parent: int,
        *,
        began: int | None,
        own: int,
        link: tuple[int, int] | None,
    ) -> Span:
        """A span of this trace below another one (0: none), with an id of its `own` (0: a random one).

        `began`: nanoseconds since 1970; None: now. `link`: the ids of somebody else's trace and span.
        """
        context = Context()
        if parent:
            context = set_span_in_context(NonRecordingSpan(_elsewhere(trace_id, parent)), context)
        self._ids.trace, self._ids.span = trace_id, own
        links = [] if link is None else [Link(_elsewhere(*link))]
        return self._tracer.start_span(name, context, SpanKind[kind], links=links, start_time=began)

    @staticmethod
    def failed(span: Span) -> None:
        """Mark it as failed."""
        span.set_status(StatusCode.ERROR)

    def end(self) -> None:
        """Send what is left, within a few seconds, whatever the collector does."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(_END_SECONDS)


def _elsewhere(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def otlp() -> SpanExporter:
    """The exporter, as OpenTelemetry's variables have it; ends the process with one line where they cannot be right."""
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "grpc"):
        raise SystemExit("stagedoor: setting OTEL_EXPORTER_OTLP_PROTOCOL: spans go by grpc alone")
    try:
        return OTLPSpanExporter()
    except (ValueError, RuntimeError) as wrong:
        raise SystemExit(
            f"stagedoor: the settings OTEL_EXPORTER_OTLP_* cannot be used: {type(wrong).__name__}"
        ) from None
