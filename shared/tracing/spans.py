"""The spans that this code makes. Whoever calls asks `active` first, so that nothing is done while tracing is off.

    HTTP request ─▶ RPC (client, server) ─▶ append ─┬─▶ relay
                                                    └─▶ project, in each service that follows

What came before the log is the span of the append, whose id is known from the event (`shared.tracing.sampling`).
"""

import asyncio
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

import grpc

from shared.log.append import Append
from shared.telemetry import correlation
from shared.tracing import sampling

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from shared.tracing.export import Tracing

TRACEPARENT: Final = "traceparent"
"""W3C Trace Context section 3.2, in HTTP, in the metadata of gRPC and in the headers of NATS."""
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_FRESH_SECONDS: Final = 60.0
"""What was recorded longer ago is relayed or projected anew, by a rebuild say: its trace is over."""

active = False
"""Whether spans are made in this process."""
_tracing: "Tracing | None" = None
_current: "ContextVar[Span | None]" = ContextVar("span", default=None)
_ending: set[asyncio.Task[None]] = set()


class Written(Protocol):
    """What the log says of an event."""

    @property
    def correlation_id(self) -> str:
        """Of its course."""

    @property
    def command_id(self) -> UUID:
        """Of what wrote it."""

    @property
    def position(self) -> Any:
        """Its place."""

    @property
    def recorded_at(self) -> Any:
        """When."""


# The life of it


def begin(service: str, ratio: float) -> None:
    """Trace this share of the courses of events, if OpenTelemetry's variables say where spans go."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    wanted = any(os.environ.get(name) for name in names)
    if not wanted or ratio == 0 or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    # Only now: a process that traces nothing has no use for some hundred modules.
    from shared.tracing.export import Tracing, otlp  # noqa: PLC0415

    start(Tracing(service, otlp()), ratio)


def start(tracing: "Tracing", ratio: float) -> None:
    """Make spans from now on."""
    global _tracing, active
    _tracing, active = tracing, True
    sampling.begin(ratio)


def end() -> None:
    """Make no more, and send what is left; takes some seconds at most."""
    global _tracing, active
    ending, _tracing, active = _tracing, None, False
    sampling.begin(0)
    _current.set(None)
    if ending is not None:
        ending.end()


# Requests


def of_http(method: str, given: Sequence[str]) -> "Span | None":
    """Begin the span of an HTTP request, whose course is `correlation`; None if it is not traced.

    `given` are its `traceparent`s. Somebody else's trace is only linked to: a stranger begins none here.
    """
    return _serve(method, _only(given))


def of_rpc(method: str, given: Sequence[str], *, trusted: bool) -> "Span | None":
    """Begin the span of an RPC; below its caller's, if that is a service of this instance."""
    before = _only(given)
    if before is not None and trusted and before[0] == sampling.traced(correlation.get()):
        return _serve(method, None, before[1])
    return _serve(method, before)


def answered(span: "Span", attributes: "Mapping[str, AttributeValue]", *, name: str = "", failed: bool = False) -> None:
    """End the span of a request. `failed`: through the fault of this side."""
    if name:
        span.update_name(name)
    span.set_attributes(attributes)
    _close(span, failed=failed)
    _current.set(None)


def current() -> "Span | None":
    """The span of the request that is being answered, if it is traced."""
    return _current.get()


def calling(method: str) -> "Span | None":
    """Begin the span of a call of another service; None outside of a traced request."""
    parent = _current.get()
    if parent is None:
        return None
    said = parent.get_span_context()
    return _new(f"call {method}", "CLIENT", said.trace_id, said.span_id)


def traceparent(span: "Span") -> str:
    """What tells others that this span came before theirs."""
    said = span.get_span_context()
    return f"00-{sampling.trace_id_text(said.trace_id)}-{said.span_id:016x}-01"


def called(span: "Span", call: Any) -> None:
    """End the span of a call when it is answered."""
    task = asyncio.ensure_future(_await_answer(span, call))
    _ending.add(task)
    task.add_done_callback(_ending.discard)


async def _await_answer(span: "Span", call: Any) -> None:
    code: grpc.StatusCode = await call.code()
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    _close(span, failed=code is not grpc.StatusCode.OK)


# The log


def appended(append: Append, began: int, *, position: int | None = None, refused: str = "") -> None:
    """The span of an append, once it is over. `began`: `time.time_ns()`; `refused`: the code of what became of it.

    Only one that succeeded has the id that the event tells: others are tried again with the same command.
    """
    context = append.context
    trace_id = sampling.traced(context.correlation_id)
    above = _current.get()
    said = None if above is None else above.get_span_context()
    types = [event.stored_as for event in append.events]
    span = _new(
        f"append {types[0]}",
        "PRODUCER",
        trace_id,
        said.span_id if said is not None and said.trace_id == trace_id else 0,
        began=began,
        own=0 if position is None else sampling.span_of_command(context.command_id),
    )
    if span is None:
        return
    span.set_attribute("stagedoor.event.types", types)
    if position is None:
        span.set_attribute("stagedoor.refused", refused)
    else:
        span.set_attribute("stagedoor.position", position)
    _close(span, failed=position is None)


def relaying(event: Written, kind: str) -> "Span | None":
    """Begin the span of a message on its way into the stream; `kind` is the event's type."""
    return _after_append(f"relay {kind}", "PRODUCER", event)


def relayed(span: "Span") -> None:
    """The stream has it."""
    _close(span)


def projected(events: Iterable[Written], projection: str, source: str, began: int) -> None:
    """The spans of events that reached a read model in one step."""
    for event in events:
        span = _after_append(f"project {projection}", "CONSUMER", event, began)
        if span is not None:
            span.set_attribute("stagedoor.source", source)
            _close(span)


# How


def _serve(name: str, link: tuple[int, int] | None, parent: int = 0) -> "Span | None":
    span = _new(name, "SERVER", sampling.traced(correlation.get()), parent, link=link)
    _current.set(span)
    return span


def _after_append(name: str, kind: str, event: Written, began: int | None = None) -> "Span | None":
    trace_id = sampling.traced(event.correlation_id)
    recorded_at = event.recorded_at
    if not trace_id or not isinstance(recorded_at, datetime):
        return None
    if (datetime.now(UTC) - recorded_at).total_seconds() > _FRESH_SECONDS:
        return None
    span = _new(name, kind, trace_id, sampling.span_of_command(event.command_id), began=began)
    if span is not None:
        span.set_attribute("stagedoor.position", event.position)
    return span


def _new(  # noqa: PLR0913  (what a span is made of)
    name: str,
    kind: str,
    trace_id: int,
    parent: int = 0,
    *,
    began: int | None = None,
    own: int = 0,
    link: tuple[int, int] | None = None,
) -> "Span | None":
    if _tracing is None or not trace_id:
        return None
    return _tracing.begin(name, kind, trace_id, parent, began=began, own=own, link=link)


def _close(span: "Span", *, failed: bool = False) -> None:
    if failed and _tracing is not None:
        _tracing.failed(span)
    span.end()


def _only(given: Sequence[str]) -> tuple[int, int] | None:
    """Trace and span of a `traceparent`, if there is one and it is well-formed."""
    found = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if found is None:
        return None
    trace_id, span_id = int(found.group(1), 16), int(found.group(2), 16)
    return (trace_id, span_id) if trace_id and span_id else None
