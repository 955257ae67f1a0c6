"""The HTTP/1.1 connection: uvicorn's on httptools, with bounds on the head of a request and errors in JSON."""

from asyncio import TimerHandle, Transport
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES: Final = 32 * 1024
"""Request line and header fields together."""
HEAD_FIELDS: Final = 100
HEAD_SECONDS: Final = 10.0

_MALFORMED: Final = (b"400 Bad Request", b'{"error":"invalid_request","error_description":"this is not HTTP"}')
_TOO_LARGE: Final = (
    b"431 Request Header Fields Too Large",
    b'{"error":"invalid_request","error_description":"the header fields are too long"}',
)


WHOLE: Final = "stagedoor.whole"
"""ASGI extension of this server; its `whole` is the `Whole` of the request."""


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
        added = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
        cycle.transport.write(b"%b%b\r\n%b" % (start, added, body))
        cycle.message_event.set()
        cycle.on_response()
        return True


class _HeadTooLarge(Exception):  # noqa: N818  (raised to stop the parser, and seen by nobody else)
    pass


class Http(HttpToolsProtocol):
    """One connection."""

    _head_open = True
    _head_bytes = 0
    _head_refused = False
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin; a first request has to come."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; end the connection if it is an endless head."""
        super().data_received(data)
        if self._head_open and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._head_refused = True
                self.send_400_response("")
            elif self._head_timer is None:  # most heads come whole, and need none
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_late)

    def on_message_begin(self) -> None:
        """Parser's callback: a request begins."""
        super().on_message_begin()
        self._head_open = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Parser's callback: the head is there. What has come of it so far was counted as it came."""
        size = len(self.url)
        for name, value in self.headers:
            size += len(name) + len(value)
        if size > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
            self._head_refused = True
            raise _HeadTooLarge
        self._head_open = False
        self._forget_timer()
        super().on_headers_complete()
        self.scope["extensions"] = {WHOLE: {"whole": Whole(self.cycle)}}

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be answered by the application, and close."""
        del msg
        status, body = _TOO_LARGE if self._head_refused else _MALFORMED
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


def protocol_class() -> Any:
    """The class as uvicorn's configuration takes it."""
    return Http
