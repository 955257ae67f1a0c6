"""Channels to other services."""

from typing import Any, Final

import grpc

from shared.errors import Refusal
from shared.rpc.status import refusal
from shared.rpc.tls import Tls
from shared.telemetry import correlation
from shared.tracing import spans

CALL_SECONDS: Final = 5.0
"""How long a call with one answer may take if it sets no deadline of its own."""
_CONNECT_SECONDS: Final = 5.0
_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Whatever its name says: the time that an attempt to connect is given, handshake included. A peer that is busy
    # takes its time, and an attempt that is cut short fails the call.
    ("grpc.min_reconnect_backoff_ms", int(_CONNECT_SECONDS * 1000)),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.enable_http_proxy", 0),
)


def channel(address: str, tls: Tls, name: str) -> grpc.aio.Channel:
    """A channel to the service `name` at `address`, by mutual TLS.

    Its certificate has the name as a DNS name, with a hyphen for an underscore, which host names do not have. Another
    service's certificate is refused, whatever address it answers at. Calls carry the correlation id; calls with one
    answer end after `CALL_SECONDS` if they set no other deadline. It connects at the first call, and again
    after every loss. Errors are `grpc.aio.AioRpcError`: `translate` them.
    """
    return grpc.aio.secure_channel(
        address,
        tls.channel_credentials(),
        options=[*_OPTIONS, ("grpc.ssl_target_name_override", name.replace("_", "-"))],
        interceptors=_INTERCEPTORS,
    )


def translate(error: grpc.aio.AioRpcError) -> Refusal:
    """The typed refusal that a peer answered with; `Unavailable` if it could not decide or was not reached."""
    trailing: Any = error.trailing_metadata() or ()
    return refusal(error.code(), error.details(), trailing)


def _details(given: Any, seconds: float | None, traceparent: str = "") -> Any:
    """The details of a call with what every call has."""
    metadata = grpc.aio.Metadata(*(given.metadata or ()))
    current = correlation.get()
    if current and "correlation-id" not in metadata:
        metadata.add("correlation-id", current)
    if traceparent:
        metadata.add(spans.TRACEPARENT, traceparent)
    return grpc.aio.ClientCallDetails(
        method=given.method,
        timeout=seconds if given.timeout is None else given.timeout,
        metadata=metadata,
        credentials=given.credentials,
        wait_for_ready=given.wait_for_ready,
    )


def _text(method: str | bytes) -> str:
    return method.decode("ascii") if isinstance(method, bytes) else method


# One class for each kind of method, since a channel sorts interceptors by class.
class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        span = spans.calling(_text(client_call_details.method)) if spans.active else None
        if span is None:
            return await continuation(_details(client_call_details, CALL_SECONDS), request)
        call = await continuation(_details(client_call_details, CALL_SECONDS, spans.traceparent(span)), request)
        spans.called(span, call)
        return call


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_details(client_call_details, None), request)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_details(client_call_details, CALL_SECONDS), request_iterator)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_details(client_call_details, None), request_iterator)


_INTERCEPTORS: Final[Any] = (_UnaryUnary(), _UnaryStream(), _StreamUnary(), _StreamStream())
