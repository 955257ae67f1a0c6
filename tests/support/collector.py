"""A collector of spans (OTLP over gRPC) on the loopback address, that keeps what it is sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from tests.support.ports import free_port


@dataclass(frozen=True, slots=True)
class Kept:
    """A span, as it came."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty: it is the first of its trace."""
    attributes: dict[str, Any]
    links: tuple[str, ...]
    """Trace ids."""
    failed: bool
    raw: bytes = field(repr=False)
    """All of it."""


class Collector(TraceServiceServicer):
    """What was collected so far."""

    def __init__(self, port: int) -> None:
        self.spans: list[Kept] = []
        self.settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "STAGEDOOR_TRACE_RATIO": "1",
        }
        """What a process is told that sends its spans here, all of them."""

    async def Export(self, request: Any, _: Any) -> Any:  # noqa: N802  (the name is the protocol's)
        for resource in request.resource_spans:
            said = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_kept(said["service.name"], span) for span in scope.spans]
        return messages.ExportTraceServiceResponse()

    def of(self, trace_id: str) -> list[Kept]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace_id == trace_id]


def _kept(service: str, span: Any) -> Kept:
    return Kept(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes},
        tuple(link.trace_id.hex() for link in span.links),
        span.status.code == span.status.STATUS_CODE_ERROR,
        span.SerializeToString(),
    )


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector that runs."""
    port = free_port()
    collector = Collector(port)
    server = aio.server()
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)
