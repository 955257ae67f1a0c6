"""What stands between the wire and a servicer's method, the same for every kind of method.

    peer's certificate ─▶ rule ─▶ person's token ─▶ strict parsing ─▶ the method ─▶ answer, or status with its code

A guard is put around each method once, when it is registered, so that a call pays for nothing but its checks.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Never, Protocol, TypeVar, cast
from uuid import UUID

import grpc
from google.protobuf.message import DecodeError, Message

from shared.errors import Kind, Refusal, Unavailable
from shared.rpc.caller import Call, Caller, Person, Rule, current
from shared.rpc.status import CODES, DETAILS, details
from shared.tally import Spreads, Tallies
from shared.telemetry import accept_correlation, correlation, course_of, logger
from shared.tracing import spans

Authenticate = Callable[[str], Awaitable[Person]]
"""From an access token to the person; raises `Refusal` (unauthenticated) if it is not valid here."""

M = TypeVar("M", bound=Message)

_log = logger(__name__)
_answered = Tallies("stagedoor_rpc_requests", "RPCs answered", ["method", "code"])
_seconds = Spreads("stagedoor_rpc_request_seconds", "Time to answer an RPC", ["method"])

URI_PROPERTY: Final = "peer_uri"
"""Property of a connection in which gRPC keeps the URIs of the peer's verified certificate."""
_OUR_FAULT: Final = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
)
STREAMS_EACH: Final = 1024
"""Streams that one caller may have open, so that nobody takes all the calls that a server has room for."""
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


class RpcContext(Protocol):
    """What a guard uses of `grpc.aio.ServicerContext`."""

    def auth_context(self) -> Mapping[str, Any]:
        """Properties of the connection, each with its values."""

    def invocation_metadata(self) -> Any:
        """Pairs of name and value."""

    def time_remaining(self) -> float | None:
        """Seconds to the caller's deadline; None if it set none."""

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> Never:
        """End the call with an error."""


class Stopping:
    """Whether the server is going down, and which calls have to be told because they would never end by themselves."""

    def __init__(self, streams_each: int = STREAMS_EACH) -> None:
        self._streams_each = streams_each
        self.begun = False
        self.streams: set[asyncio.Task[Any]] = set()
        self.by_caller: dict[str, int] = {}
        """How many of them each caller has open."""

    def opened(self, caller: str) -> None:
        """Count one more stream of a caller. Raises `Refusal` if it has too many."""
        count = self.by_caller.get(caller, 0)
        if count >= self._streams_each:
            raise Refusal(Kind.EXHAUSTED, "too_many_streams", f"{caller} has {count} streams open already")
        self.by_caller[caller] = count + 1

    def closed(self, caller: str) -> None:
        """Count one less."""
        if count := self.by_caller[caller] - 1:
            self.by_caller[caller] = count
        else:
            del self.by_caller[caller]

    def begin(self) -> None:
        """End every open stream with `shutting_down`."""
        self.begun = True
        for task in tuple(self.streams):
            task.cancel()


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What the metadata of a call says."""

    authorization: tuple[str, ...]
    correlation_id: str | None
    """As it was given."""
    idempotency_key: UUID | None
    traceparents: tuple[str, ...]


_NOTHING_SAID: Final = _Parsed((), None, None, ())


class Guard:
    """Guards one method."""

    def __init__(
        self, method: str, rule: Rule | None, authenticate: Authenticate | None, seconds: float, stopping: Stopping
    ) -> None:
        self._method = method
        self._rule = rule
        self._roles = None if rule is None else rule.role
        self._authenticate = authenticate
        self._unary_seconds = seconds
        self._stopping = stopping
        self._took = _seconds.labels(method)
        self._ok = _answered.labels(method, "OK")

    def around(self, handler: Any, *, raw: bool = False) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler with the guard around it; messages reach gRPC as bytes, because the guard parses.

        `raw`: the method takes bytes and answers with bytes; what it parses, it parses by `strictly`.
        """
        parse, serialize = handler.request_deserializer, handler.response_serializer
        if raw:
            parse, serialize = None, bytes
        if handler.response_streaming:
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            streaming = self._streaming(behaviour, parse, serialize, many=handler.request_streaming)
            wrap = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return wrap(streaming, response_serializer=_written_by(serialize))
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        single = self._single(behaviour, parse, serialize, many=handler.request_streaming)
        return (
            grpc.stream_unary_rpc_method_handler(single)
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler(single)
        )

    def _single(self, behaviour: Any, parse: Any, serialize: Any, *, many: bool) -> Any:
        """For methods with one answer; a caller that set no deadline gets one."""

        async def answer_to(received: Any, rpc: RpcContext) -> bytes:
            if self._roles is not None:
                await self._bring_person(rpc, self._roles)
            request = _each(parse, received) if many else strictly(parse, received)
            answer: bytes = serialize(await behaviour(request, rpc))
            return answer

        async def guarded(received: Any, rpc: RpcContext) -> bytes | None:
            started = perf_counter()
            bound = None
            try:
                self._admit(rpc, traced=True)
                # A deadline that the caller set is kept by gRPC itself, which then ends this task.
                if rpc.time_remaining() is None:
                    async with asyncio.timeout(self._unary_seconds) as bound:
                        answer = await answer_to(received, rpc)
                else:
                    answer = await answer_to(received, rpc)
                self._ok.count += 1
                if spans.active:
                    _end_span(grpc.StatusCode.OK)
            except Exception as failure:  # noqa: BLE001  (nothing unforeseen may reach the caller)
                return await self._refuse(rpc, failure, late=bound is not None and bound.expired())
            else:
                return answer
            finally:
                self._took.observe(perf_counter() - started)
                if spans.active:
                    _end_span(None)

        return guarded

    def _streaming(self, behaviour: Any, parse: Any, serialize: Any, *, many: bool) -> Any:
        """For methods with a stream of answers; it lasts until one side ends it, or the server stops."""
        streams = self._stopping.streams

        async def guarded(received: Any, rpc: RpcContext) -> AsyncIterator[bytes]:
            task = asyncio.current_task()
            if task is None:
                raise RuntimeError("a method runs in a task")
            streams.add(task)
            caller = None
            try:
                self._admit(rpc)
                if self._roles is not None:
                    await self._bring_person(rpc, self._roles)
                self._stopping.opened(name := current.get().caller.name)
                caller = name
                request = _each(parse, received) if many else strictly(parse, received)
                answers = behaviour(request, rpc)
                if hasattr(answers, "__aiter__"):
                    async for answer in answers:
                        yield serialize(answer)
                else:
                    await answers  # written by `rpc.write`; the health service does so
                self._ok.count += 1
            except asyncio.CancelledError:
                if not self._stopping.begun:
                    raise
                task.uncancel()
                await self._refuse(rpc, Unavailable("shutting_down", "the service is stopping; connect again"))
            except Exception as failure:  # noqa: BLE001  (as above)
                await self._refuse(rpc, failure)
            finally:
                streams.discard(task)
                if caller is not None:
                    self._stopping.closed(caller)

        return guarded

    def _admit(self, rpc: RpcContext, *, traced: bool = False) -> None:
        """Establish which peer calls and hold it against the rule; afterwards `current` is set, without a person.

        `traced`: the call has a span if its course has. Those that last for hours have none.
        """
        said = _metadata(rpc)
        course = accept_correlation(said.correlation_id, trusted=True)
        correlation.set(course)
        caller = Caller.from_uris(rpc.auth_context().get(URI_PROPERTY, ()))
        if spans.active:
            if not caller.inside:
                course = accept_correlation(said.correlation_id)
                correlation.set(course)
            if traced:
                spans.of_rpc(self._method, said.traceparents, trusted=caller.inside)
        rule = self._rule
        if rule is None or not rule.admits(caller):
            _log.warning("caller_not_allowed", method=self._method, caller=caller.name)
            raise Refusal(Kind.FORBIDDEN, "caller_not_allowed", f"{caller.name} may not call this method")
        current.set(Call(caller, None, course, said.idempotency_key))

    async def _bring_person(self, rpc: RpcContext, roles: frozenset[str]) -> None:
        """Establish whose token came along; it has to have one of these roles."""
        authorization = _metadata(rpc).authorization
        if not authorization:
            raise Refusal(Kind.UNAUTHENTICATED, "missing_token", "this method needs a person's access token")
        found = _BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
        if found is None or self._authenticate is None:
            raise Refusal(Kind.UNAUTHENTICATED, "invalid_token", "one access token is needed, as `Bearer <token>`")
        person = await self._authenticate(found.group(1))
        if not person.roles & roles:
            raise Refusal(Kind.FORBIDDEN, "role_missing", f"this needs the role {' or '.join(sorted(roles))}")
        current.set(current.get()._replace(person=person))

    async def _refuse(self, rpc: RpcContext, failure: Exception, *, late: bool = False) -> Never:
        """Answer with the status of a refusal; whatever else went wrong is the log's business alone."""
        if isinstance(failure, grpc.aio.AbortError):
            _answered.labels(self._method, "ABORTED_BY_METHOD").add()
            raise failure
        retry_after = None
        if late:
            code, reason, message = grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded", "this took too long"
        elif isinstance(failure, Refusal):
            code, reason, message = CODES[failure.kind], failure.code, failure.message
            retry_after = failure.retry_after if isinstance(failure, Unavailable) else None
        else:
            code, reason, message = grpc.StatusCode.INTERNAL, "internal", "something went wrong on this side"
            _log.error("rpc_failed", method=self._method, course=course_of(failure))
        _answered.labels(self._method, code.name).add()
        if spans.active:
            _end_span(code)
        packed = details(code, reason, message, correlation.get(), retry_after)
        await rpc.abort(code, message, ((DETAILS, packed),))


def _written_by(serialize: Callable[[Message], bytes]) -> Callable[[Message | bytes], bytes]:
    """For methods that write by themselves: what passes the guard is bytes already."""
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


def _end_span(code: grpc.StatusCode | None) -> None:
    """End the span of the call, if it has one that has not ended; None: the caller has gone."""
    span = spans.current()
    if span is not None:
        attributes: dict[str, str | int] = {"rpc.system": "grpc"}
        if code is not None:
            attributes["rpc.grpc.status_code"] = code.value[0]
        spans.answered(span, attributes, failed=code in _OUR_FAULT)


def _metadata(rpc: RpcContext) -> _Parsed:
    given = rpc.invocation_metadata() or ()
    if all(name == "user-agent" for name, _ in given):  # as most who validate
        return _NOTHING_SAID
    authorization: list[str] = []
    ids: list[str] = []
    keys: list[str] = []
    traceparents: list[str] = []
    for name, value in given:
        if name == "user-agent":
            continue
        if name == "authorization":
            authorization.append(value)
        elif name == "correlation-id":
            ids.append(value)
        elif name == "idempotency-key":
            keys.append(value)
        elif name == spans.TRACEPARENT:
            traceparents.append(value)
    course = ids[0] if len(ids) == 1 else None
    return _Parsed(tuple(authorization), course, _idempotency_key(keys), tuple(traceparents))


def _idempotency_key(values: list[str]) -> UUID | None:
    if not values:
        return None
    try:
        key = UUID(values[0])
    except ValueError:
        key = None
    if key is None or len(values) > 1 or str(key) != values[0].lower():
        raise Refusal(Kind.INVALID, "invalid_idempotency_key", "an idempotency key is one UUID in its usual form")
    return key


def strictly(parse: Callable[[bytes], M] | None, raw: bytes) -> M:
    """Parse a request that must mean the same to both sides: what this side does not know is refused, nested too.

    Without `parse` it is for the method to do so, and it gets the bytes. Raises `Refusal`.
    """
    if parse is None:
        return cast("M", raw)
    try:
        message = parse(raw)
    except DecodeError:
        raise Refusal(Kind.INVALID, "malformed_request", "the request cannot be parsed") from None
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise Refusal(Kind.INVALID, "unknown_field", "the request has a field that this version does not know")
    return message


async def _each(parse: Callable[[bytes], M] | None, received: AsyncIterator[bytes]) -> AsyncIterator[M]:
    async for raw in received:
        yield strictly(parse, raw)
