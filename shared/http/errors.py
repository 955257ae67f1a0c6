"""Refusals as HTTP answers: JSON in the shape of RFC 6749 section 5.2, `{error, error_description}`."""

import re
from collections.abc import Mapping
from math import ceil
from typing import Final

from msgspec.json import encode
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shared.errors import Kind, Refusal, TooManyRequests, Unavailable
from shared.telemetry import course_of, logger

_log = logger(__name__)

STATUS: Final = {
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.ALREADY_EXISTS: 409,
    Kind.PRECONDITION: 409,
    Kind.CONFLICT: 409,
    Kind.EXHAUSTED: 429,
    Kind.UNAVAILABLE: 503,
}
_CODES: Final = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
    500: "server_error",
    503: "temporarily_unavailable",
}
_BEARER_CODES: Final = frozenset({"invalid_request", "invalid_token", "insufficient_scope"})
"""RFC 6750 section 3.1."""
_UNDESCRIBABLE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


class HttpRefusal(Refusal):
    """A refusal whose HTTP status says more than its kind does."""

    def __init__(self, status: int, code: str, message: str, *, close: bool = False) -> None:
        super().__init__(Kind.INVALID, code, message)
        self.status = status
        self.close = close
        """Whether the connection ends with the answer, because the rest of the request is not wanted."""


def too_large(limit: int) -> HttpRefusal:
    """The body is longer than is read here (RFC 9110 section 15.5.14)."""
    return HttpRefusal(413, "request_too_large", f"the body is longer than {limit} bytes", close=True)


def unsupported_media_type(message: str) -> HttpRefusal:
    """The body has a type that is not read here (RFC 9110 section 15.5.16)."""
    return HttpRefusal(415, "unsupported_media_type", message)


def invalid_request(message: str) -> Refusal:
    """The request is malformed (RFC 6749 section 5.2)."""
    return Refusal(Kind.INVALID, "invalid_request", message)


def json_error(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a refused request; `headers` are added, and prevail.

    What cannot be decided now is `temporarily_unavailable` (RFC 6749 section 4.1.2.1) with Retry-After, whatever part
    is missing: callers have no use for the reason. A 401 always has a challenge (RFC 9110 section 15.5.2).
    """
    given: dict[str, str] = {}
    if isinstance(refusal, Unavailable):
        given["Retry-After"] = str(max(1, ceil(refusal.retry_after)))
        return _answer(503, _CODES[503], "this cannot be decided at the moment; try again", given, headers)
    status = refusal.status if isinstance(refusal, HttpRefusal) else STATUS[refusal.kind]
    if isinstance(refusal, TooManyRequests):
        given["Retry-After"] = str(max(1, ceil(refusal.retry_after)))
    if status == 401:
        given["WWW-Authenticate"] = _challenge(refusal.code)
    if isinstance(refusal, HttpRefusal) and refusal.close:
        given["Connection"] = "close"
    return _answer(status, refusal.code, refusal.message, given, headers)


def server_error() -> Response:
    """The answer when something unforeseen happened; it tells nothing."""
    return _answer(500, _CODES[500], "something went wrong on this side", {}, None)


def install(app: Starlette) -> None:
    """Answer refusals, unknown paths and failures of this application in the one shape, where it has no way of its own.

    Paths with and without a slash at the end are different paths: nothing is redirected, least of all to a host that
    the request names.
    """
    app.exception_handlers.setdefault(Refusal, _on_refusal)
    app.exception_handlers.setdefault(HTTPException, _on_http_exception)
    app.exception_handlers.setdefault(ClientDisconnect, _on_disconnect)
    app.exception_handlers.setdefault(Exception, _on_failure)
    app.router.redirect_slashes = False


async def _on_refusal(_: Request, refusal: Exception) -> Response:
    if not isinstance(refusal, Refusal):
        raise TypeError("a handler of refusals")
    return json_error(refusal)


async def _on_http_exception(_: Request, failure: Exception) -> Response:
    """What the router says by itself: no such path, no such method."""
    if not isinstance(failure, HTTPException):
        raise TypeError("a handler of the router's answers")
    status = failure.status_code
    code = _CODES.get(status, "server_error" if status >= 500 else "invalid_request")
    return _answer(status, code, code.replace("_", " "), dict(failure.headers or {}), None)


async def _on_disconnect(_: Request, __: Exception) -> Response:
    """A body that ended before it was whole is the sender's doing, and nothing to raise an alarm about."""
    return json_error(invalid_request("the body ended before it was complete"))


async def _on_failure(request: Request, failure: Exception) -> Response:
    _log.error("http_failed", path=request.scope["path"][:200], course=course_of(failure))
    request.scope["stagedoor.failed"] = True
    return server_error()


def _challenge(code: str) -> str:
    if code == "invalid_client":
        return 'Basic realm="stagedoor", charset="UTF-8"'
    return f'Bearer realm="stagedoor", error="{code}"' if code in _BEARER_CODES else 'Bearer realm="stagedoor"'


def _answer(
    status: int, code: str, message: str, given: Mapping[str, str], headers: Mapping[str, str] | None
) -> Response:
    prevailing = {} if headers is None else {name.lower(): value for name, value in headers.items()}
    content = encode({"error": code, "error_description": _UNDESCRIBABLE.sub("'", message)})
    merged = {name.lower(): value for name, value in given.items()} | prevailing
    return Response(content, status, merged, media_type="application/json")
