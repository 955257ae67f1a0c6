"""The outermost layer of a service's HTTP: what is true of every request and every answer."""

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from prometheus_client import Gauge
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import Refusal, Unavailable
from shared.http.body import BODY_BYTES
from shared.http.endpoint import ROUTE, Endpoint, Headers, Reply, call_of, reply_with
from shared.http.errors import invalid_request, json_error, server_error
from shared.http.headers import secured
from shared.http.protocol import WHOLE, Whole
from shared.tally import Spreads, Tallies
from shared.telemetry import accept_correlation, correlation, course_of, log_request, logger
from shared.tracing import spans

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_log = logger(__name__)
_answered = Tallies("stagedoor_http_requests", "HTTP requests answered", ["method", "route", "status"])
_seconds = Spreads("stagedoor_http_request_seconds", "Time to answer an HTTP request", ["method", "route"])
_under_way = Gauge("stagedoor_http_requests_under_way", "HTTP requests being answered")
_count_of = lru_cache(maxsize=4096)(_answered.labels)
_time_of = lru_cache(maxsize=1024)(_seconds.labels)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")
_NOTHING: Final[Mapping[str, Any]] = {}
GONE: Final = 499
"""In logs and metrics: the client went away before there was an answer."""


class Edge:
    """ASGI middleware: correlation, strictness about the target, a bound on work, headers, log, metrics, failures."""

    def __init__(
        self, app: ASGIApp, limit_concurrency: int, find: Callable[[Scope], Endpoint | None] = lambda _: None
    ) -> None:
        """`find` tells the endpoint that is to answer without further ado, if the request is there as a whole."""
        self._app = app
        self._limit = limit_concurrency
        self._find = find
        self._count = 0
        _under_way.set_function(lambda: self._count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        given = [value for name, value in scope["headers"] if name == b"correlation-id"]
        current = accept_correlation(given[0].decode("latin-1") if len(given) == 1 else None)
        correlation.set(current)
        span = _begin_span(scope) if spans.active else None
        answer = _Answer(send, current.encode(), scope.get("extensions", _NOTHING).get(WHOLE, _NOTHING).get("whole"))
        self._count += 1
        try:
            await self._within(scope, receive, answer)
        finally:
            self._count -= 1
            _observe(scope, answer.status, perf_counter() - started)
            if span is not None:
                _end_span(span, scope, answer.status)

    async def _within(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            self._check_room()
            endpoint = self._find(scope)
            _check_target(scope, ours=endpoint is not None)
            body = None if endpoint is None or answer.whole is None else answer.whole.body()
            if endpoint is None or body is None or len(body) > BODY_BYTES:
                await self._app(scope, receive, answer.send)
                return
            reply = await endpoint(call_of(scope, body))
            if not answer.at_once(reply):
                await reply_with(reply, scope, answer.send)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            # The server stops, and cannot wait any longer.
            response = json_error(Unavailable("shutting_down", "the service is stopping"), {"Connection": "close"})
        except Refusal as refusal:
            response = json_error(refusal)
        except Exception as failure:  # noqa: BLE001  (nothing unforeseen may reach the caller)
            if "stagedoor.failed" not in scope:
                _log.error("http_failed", path=scope["path"][:200], course=course_of(failure))
            response = server_error()
        else:
            return
        if not answer.started:
            await response(scope, receive, answer.send)
        # An answer that has begun cannot be taken back; leaving it incomplete ends the connection.

    def _check_room(self) -> None:
        if self._count > self._limit:
            raise Unavailable("overloaded", "too many requests at once; try again")


class _Answer:
    """What is sent for one request."""

    __slots__ = ("_correlation", "_send", "started", "status", "whole")

    def __init__(self, send: Send, current: bytes, whole: Whole | None) -> None:
        self._send = send
        self._correlation = current
        self.whole = whole
        self.started = False
        self.status = GONE

    async def send(self, message: Message) -> None:
        """Pass it on, with the correlation id and the headers that belong to every answer."""
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"correlation-id"]
            headers.append((b"correlation-id", self._correlation))
            await self._send({**message, "headers": secured(headers)})
            self.started = True
            self.status = message["status"]
        else:
            await self._send(message)

    def at_once(self, reply: Reply) -> bool:
        """Send a whole answer, if the server can do that now; it says the same as if it were sent part by part."""
        if self.whole is None or (start := _start(reply.status, reply.headers)) is None:
            return False
        fields = b"%bcorrelation-id: %b\r\ncontent-length: %d\r\n" % (start, self._correlation, len(reply.body))
        self.started = self.whole.write(fields, reply.body)
        if self.started:
            self.status = reply.status
        return self.started


@lru_cache(maxsize=256)
def _start(status: int, headers: Headers) -> bytes | None:
    """The status line and the header fields that answers of one kind have in common; None: it is a special kind."""
    if status == 204 or any(name.lower() == b"connection" for name, _ in headers):
        return None
    fields = b"".join([b"%b: %b\r\n" % header for header in secured(headers)])
    return b"HTTP/1.1 %d %b\r\n%b" % (status, HTTPStatus(status).phrase.encode(), fields)


def _check_target(scope: Scope, *, ours: bool) -> None:
    """Refuse a path or query that two readers could understand differently (RFC 3986 section 2.1).

    `ours`: the path is one of an endpoint. Spelled as we spell it, and with nothing behind it, it needs no look.
    """
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    if ours and not query and b"%" not in path:
        return
    if b"%" in path or b"%" in query:
        for part, where in ((path, "path"), (query, "query string")):
            if _BROKEN_ESCAPE.search(part):
                raise invalid_request(f"the {where} has a broken percent escape")
            try:
                unquote_to_bytes(part).decode("utf-8")
            except UnicodeDecodeError:
                raise invalid_request(f"the {where} is not UTF-8") from None
        if b"%00" in query:
            raise invalid_request("the query string holds a NUL")
    if not (path.isascii() and query.isascii()):
        raise invalid_request("the address holds bytes that have to be escaped")
    if _UNPRINTABLE.search(scope["path"]):
        raise invalid_request("the path holds a control character")


def _begin_span(scope: Scope) -> "Span | None":
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"]
    return spans.of_http(_method(scope), given)


def _end_span(span: "Span", scope: Scope, status: int) -> None:
    """It tells the route and never the path, which may hold ids, nor anything else that was sent."""
    method, route = _method(scope), _route(scope)
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
    }
    spans.answered(span, attributes, name=f"{method} {route}", failed=status >= 500)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def _route(scope: Scope) -> str:
    route: str | None = scope.get(ROUTE)
    if route is None:
        matched = scope.get("route")
        route = scope.get("root_path", "") + matched.path if isinstance(matched, Route) else "unknown"
    return route


def _observe(scope: Scope, status: int, seconds: float) -> None:
    method, route = _method(scope), _route(scope)
    _count_of(method, route, status).count += 1
    _time_of(method, route).observe(seconds)
    log_request(__name__, method, scope["path"][:200], status, seconds)
