"""The HTTP/1.1 connection: uvicorn's on httptools, with bounds on what a client may keep waiting, and errors in JSON.

A head has to come within `HEAD_SECONDS`, a body within those of `BodyLimit`, and an answer has to be taken within
`TAKE_SECONDS`. What comes behind a body is not looked at, and has an end. Past `most` open connections each further one
is in the crowd: its head has to come at once, it is told to come again, and it ends with its answer; only the
operator's machinery is heard there. Past twice as many a connection ends as it begins.
"""

from asyncio import TimerHandle, Transport
from typing import Any, Final

from prometheus_client import Counter
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shared.errors import Unavailable
from shared.http.errors import json_error
from shared.http.operations import PATHS as OPERATIONS

_crowds = Counter("stagedoor_http_crowded_total", "Connections that came when too many were open")

HEAD_BYTES: Final = 32 * 1024
"""Request line and header fields together."""
HEAD_FIELDS: Final = 100
HEAD_SECONDS: Final = 10.0
REST_BYTES: Final = 2 * 1024 * 1024
"""What comes of one request behind its head: the body, that which parts it into chunks, and what is only dropped."""
WAITING: Final = 16
"""Requests that may wait behind the one that is being answered, on one connection."""
TAKE_SECONDS: Final = 30.0
"""How long a client may leave an answer that it asked for on the wire."""
CROWDED_HEAD_SECONDS: Final = 1.0

_MALFORMED: Final = (b"400 Bad Request", b'{"error":"invalid_request","error_description":"this is not HTTP"}')
_CROWDED: Final = (
    b"503 Service Unavailable\r\nretry-after: 1",
    b'{"error":"temporarily_unavailable","error_description":"this cannot be decided at the moment; try again"}',
)
_TOO_LARGE: Final = (
    b"431 Request Header Fields Too Large",
    b'{"error":"invalid_request","error_description":"the header fields are too long"}',
)


WHOLE: Final = "stagedoor.whole"
"""ASGI extension of this server; its `whole` is the `Whole` of the request."""


class _Added:
    """What the server adds to each answer. It is the same list until its `Date` changes, once in a second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._fields = b""

    def fields(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """These headers, each with its line end."""
        if headers is not self._headers:
            self._headers = headers
            self._fields = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._fields


_added: Final = _Added()


class Whole:
    """A request that has come as a whole, and an answer that is written at once."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def body(self) -> bytes | None:
        """The body, if all of it is there; None: it has to be received as usual."""
        cycle = self._cycle
        return None if cycle.more_body or cycle.disconnected else bytes(cycle.body)

    def write(self, start: bytes, body: bytes) -> bool:
        """Write an answer, from status line to end. False: nothing was written, and it has to be sent as usual.

        `start` has the status line and the header fields, each with its line end, but for those that the server adds.
        """
        cycle = self._cycle
        if cycle.response_started or cycle.disconnected or cycle.flow.write_paused or not cycle.keep_alive:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"%b%b\r\n%b" % (start, _added.fields(cycle.default_headers), body))
        cycle.message_event.set()
        cycle.on_response()
        return True


class _HeadTooLarge(Exception):  # noqa: N818  (raised to stop the parser, and seen by nobody else)
    pass


class _TooManyAtOnce(Exception):  # noqa: N818  (as above)
    pass


class Http(HttpToolsProtocol):
    """One connection."""

    most: int
    """Connections that may be open before there is a crowd."""
    _crowded = False
    _take_timer: TimerHandle | None = None
    _head_open = True
    _head_bytes = 0
    _rest_bytes = 0
    _head_refused = False
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin; a first request has to come."""
        super().connection_made(transport)
        seconds = HEAD_SECONDS
        if len(self.connections) > self.most:
            _crowds.inc()
            if len(self.connections) > 2 * self.most:
                self._refuse(*_CROWDED)
                return
            self._crowded, seconds = True, CROWDED_HEAD_SECONDS
            self.app = _OperationsAlone(self.app)
        self._head_timer = self.loop.call_later(seconds, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._forget_timer()
        self._forget_take_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits for the client to take it than the transport holds; it has so long to do so."""
        super().pause_writing()
        self._take_timer = self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken what waited."""
        super().resume_writing()
        self._forget_take_timer()

    def data_received(self, data: bytes) -> None:
        """Parse what came; end the connection if it is an endless head, or an endless rest."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_open:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._head_refused = True
                self.send_400_response("")
            elif self._head_timer is None:  # most heads come whole, and need none
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_late)
        else:
            self._rest_bytes += len(data)
            if self._rest_bytes > REST_BYTES:
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Parser's callback: a request begins."""
        super().on_message_begin()
        self._head_open = True
        self._head_bytes = self._rest_bytes = 0

    def on_headers_complete(self) -> None:
        """Parser's callback: the head is there. What has come of it so far was counted as it came."""
        size = len(self.url)
        for name, value in self.headers:
            size += len(name) + len(value)
        if size > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
            self._head_refused = True
            raise _HeadTooLarge
        # All of them may have come in one piece, so nobody could stop reading before.
        if len(self.pipeline) >= WAITING:
            raise _TooManyAtOnce
        self._head_open = False
        self._forget_timer()
        super().on_headers_complete()
        # A field behind the body is none of the head's (RFC 9110 section 6.5.1): no proxy has looked at it, and nobody
        # here needs any. So it goes into a list that nobody reads.
        self.headers = []
        if self._crowded:
            self.cycle.keep_alive = False
            return
        self.scope["extensions"] = {WHOLE: {"whole": Whole(self.cycle)}}

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be answered by the application, and close."""
        del msg
        self._refuse(*(_TOO_LARGE if self._head_refused else _MALFORMED))

    def _refuse(self, status: bytes, body: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\ncontent-type: application/json\r\ncache-control: no-store\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
        )
        self.transport.close()

    def _head_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _forget_take_timer(self) -> None:
        if self._take_timer is not None:
            self._take_timer.cancel()
            self._take_timer = None


class _OperationsAlone:
    """ASGI application: passes on what the operator's machinery asks, and tells everybody else to come again."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in {"GET", "HEAD"} and scope["path"] in OPERATIONS:
            await self._app(scope, receive, send)
            return
        await json_error(Unavailable("overloaded", "too many connections at once; try again"))(scope, receive, send)


def protocol_class(most: int) -> Any:
    """The class as uvicorn's configuration takes it, for a server that holds `most` connections without a crowd."""
    return type("Http", (Http,), {"most": most})
