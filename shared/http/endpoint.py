"""Endpoints that are asked thousands of times a second: no framework stands between them and the edge.

They are functions from a call to a reply. What is true of every request (correlation, limits, headers, failures, the
access log) is true of theirs: the edge sees to it. Pages and everything else that is asked less often stay with
Starlette.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import Refusal
from shared.http.errors import HttpRefusal, json_error

Headers = tuple[tuple[bytes, bytes], ...]

ROUTE: Final = "stagedoor.route"
"""Where the scope of a request says which endpoint it came to, for metrics."""


class Call(Struct, frozen=True):
    """A request, with its body."""

    method: str
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    """Names are in lower case."""
    body: bytes
    peer: str = ""
    """Address of who is connected: usually a proxy (`shared.http.client_address`)."""

    def values(self, *names: bytes) -> list[list[str]]:
        """All values of each of these header fields."""
        found: list[list[str]] = [[] for _ in names]
        for name, value in self.headers:
            if name in names:
                found[names.index(name)].append(value.decode("latin-1"))
        return found


class Reply(Struct, frozen=True):
    """An answer; its length is added."""

    status: int
    headers: Headers
    body: bytes


Endpoint = Callable[[Call], Awaitable[Reply]]


def refused(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Reply:
    """A refusal in the shape that all have (`json_error`)."""
    response = json_error(refusal, headers)
    kept = [(name, value) for name, value in response.raw_headers if name != b"content-length"]
    return Reply(response.status_code, tuple(kept), bytes(response.body))


class Application(Starlette):
    """A service's HTTP: routes, and endpoints by path and method."""

    def __init__(self, routes: Sequence[BaseRoute], endpoints: Mapping[str, Mapping[str, Endpoint]]) -> None:
        super().__init__(routes=routes)
        self.endpoints = endpoints


class Endpoints:
    """ASGI application: the endpoints, and for every other path the application that they belong to."""

    def __init__(self, app: Application) -> None:
        self._app: ASGIApp = app
        self._endpoints = app.endpoints

    def find(self, scope: Scope) -> Endpoint | None:
        """The endpoint of a request, if there is one for its path and method."""
        methods = self._endpoints.get(scope["path"])
        if methods is None:
            return None
        scope[ROUTE] = scope["path"]
        return methods.get(scope["method"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        methods = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        if methods is None:
            await self._app(scope, receive, send)
        elif (endpoint := self.find(scope)) is None:
            refusal = HttpRefusal(405, "method_not_allowed", "method not allowed")
            await reply_with(refused(refusal, {"Allow": ", ".join(sorted(methods))}), scope, send)
        else:
            try:
                body = await _whole(receive)
            except HttpRefusal as refusal:
                reply = refused(refusal)
            else:
                reply = await endpoint(call_of(scope, body))
            await reply_with(reply, scope, send)


def call_of(scope: Scope, body: bytes) -> Call:
    """A request with its body."""
    client = scope.get("client")
    return Call(scope["method"], scope["query_string"], scope["headers"], body, client[0] if client else "")


async def reply_with(reply: Reply, scope: Scope, send: Send) -> None:
    """Send an answer."""
    # RFC 9110 section 8.6: an answer of status 204 has no length.
    length = () if reply.status == 204 else ((b"content-length", b"%d" % len(reply.body)),)
    await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, *length]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})


async def _whole(receive: Receive) -> bytes:
    """The body, bounded by what is around this (`BodyLimit`)."""
    message = await receive()
    if message["type"] != "http.request":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    parts = [body]
    while message.get("more_body", False):
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
    return b"".join(parts)
