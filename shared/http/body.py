"""The longest body that is read, whoever reads it, and the longest time that it may take to come."""

import asyncio
from collections.abc import Coroutine, Generator
from types import CoroutineType
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.http.errors import HttpRefusal, invalid_request, json_error, too_large

BODY_BYTES: Final = 64 * 1024
BODY_SECONDS: Final = 15.0
_LINGER_BYTES: Final = 1024 * 1024
_LINGER_SECONDS: Final = 1.0


class BodyLimit:
    """ASGI middleware: refuses with 413 what announces too much, at once, and what turns out to be too much."""

    def __init__(self, app: ASGIApp, limit: int = BODY_BYTES, seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if lengths and not (len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) <= 18):
            await json_error(invalid_request("the content length is not a number"))(scope, receive, send)
            return
        reading = _Reading(receive, send, self._limit, self._seconds)
        if lengths and int(lengths[0]) > self._limit:
            reading.unread = True
            await json_error(too_large(self._limit))(scope, receive, reading.send)
            return
        await self._app(scope, reading.receive, reading.send)


class _Begun:
    """A coroutine that has run until it had to wait: awaiting this goes on from there."""

    def __init__(self, coroutine: Coroutine[Any, Any, Message], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Message]:
        try:
            yield self._waits_for
        except BaseException as failure:
            self._coroutine.throw(failure)
            raise
        return (yield from self._coroutine.__await__())


class _Reading:
    """One request's body."""

    def __init__(self, receive: Receive, send: Send, limit: int, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._seconds = seconds
        self._until: float | None = None
        self._read = 0
        self._complete = False
        self.unread = False
        """Whether the rest of the body is refused."""

    async def receive(self) -> Message:
        """The next part of the body; raises `HttpRefusal` past the limits."""
        if self._complete:
            return await self._receive()
        message = await self._in_time()
        self._complete = not message.get("more_body", False)
        self._read += len(message.get("body", b""))
        if self._read > self._limit:
            self.unread = True
            raise too_large(self._limit)
        return message

    async def _in_time(self) -> Message:
        """The next message. Most bodies come with their head, so the clock is only looked at if this one does not."""
        coming = self._receive()
        if not isinstance(coming, CoroutineType):
            return await coming
        try:
            waits_for = coming.send(None)
        except StopIteration as there:
            message: Message = there.value
            return message
        loop = asyncio.get_running_loop()
        if self._until is None:
            self._until = loop.time() + self._seconds
        try:
            async with asyncio.timeout_at(self._until):
                return await _Begun(coming, waits_for)
        except TimeoutError:
            self.unread = True
            raise HttpRefusal(408, "request_timeout", "the body took too long", close=True) from None

    async def send(self, message: Message) -> None:
        """Pass on an answer.

        Closing a connection with unread bytes in it would reset it, and the client might lose the answer that tells
        it why. So the answer goes out first, and for a moment what still comes is read and dropped.
        """
        if not self.unread or message["type"] != "http.response.body" or message.get("more_body", False):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        dropped = 0
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while not self._complete and dropped < _LINGER_BYTES:
                    more = await self._receive()
                    dropped += len(more.get("body", b""))
                    self._complete = not more.get("more_body", False)
        except TimeoutError:
            pass
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
