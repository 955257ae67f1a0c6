"""Envoy's external authorization: `envoy.service.auth.v3.Authorization/Check`.

A route says in `context_extensions` what it is: `audience` (needed), `scopes` (separated by spaces),
`resource_metadata` (an address, where it is not at the usual place), and `origin`, where clients do not reach the
resource at the origin of its identifier: DPoP proofs are for addresses there, whatever host a request names. Envoy is
known by its certificate, as every caller of `Validate`, and has to be a caller of that audience.

With `include_peer_certificate` Envoy says itself which certificate a client has opened its connection with, for tokens
that are bound to one (RFC 8705). `x-forwarded-client-cert` is not looked at: whether a client may have written what
stands there depends on settings elsewhere.

The answer is always a decision, never an error: with `failure_mode_allow` Envoy takes an error for a yes.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from envoy.service.auth.v3.external_auth_pb2 import (
    CheckRequest,
    CheckResponse,
    DeniedHttpResponse,
    OkHttpResponse,
)
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.protobuf.message import DecodeError
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from services.token_issuer.gateway import Asked, Gateway, Passed, Stopped
from shared.rpc.caller import Rule, current
from shared.rpc.guard import RpcContext

SERVICE: Final = "envoy.service.auth.v3.Authorization"
RULES: Final[Mapping[str, Rule]] = {f"{SERVICE}/Check": Rule(frozenset({"service/*", "resource/*"}))}
RAW: Final = frozenset({"Check"})
"""Parsed here: a newer Envoy says things that this version does not know, and none of them matters."""

_CODES: Final = {
    400: code_pb2.INVALID_ARGUMENT,
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    429: code_pb2.RESOURCE_EXHAUSTED,
    503: code_pb2.UNAVAILABLE,
}


class EnvoyService:
    """The servicer."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Check(self, raw: bytes, _: RpcContext) -> bytes:  # noqa: N802  (the name is the protocol's)
        """Whether a request goes through."""
        try:
            attributes = CheckRequest.FromString(raw).attributes
        except DecodeError:
            return _denied(Stopped(400, "invalid_request", "the request cannot be parsed"))
        extensions, request = attributes.context_extensions, attributes.request.http
        outcome = await self._gateway.decide(
            Asked(
                caller=current.get().caller.name,
                audience=extensions.get("audience", ""),
                scopes=tuple(extensions.get("scopes", "").split()),
                headers=tuple(_headers(request)),
                target=f"{request.path}?{request.query}" if request.query else request.path,
                method=request.method,
                origin=extensions.get("origin", ""),
                metadata=extensions.get("resource_metadata", ""),
                certificate=attributes.source.certificate,
            )
        )
        return _allowed(outcome) if isinstance(outcome, Passed) else _denied(outcome)


def _headers(request: AttributeContext.HttpRequest) -> Iterator[tuple[str, str]]:
    """As the client sent them; where Envoy does not tell repeated ones apart, they stand in one value, with commas."""
    if request.header_map.headers:
        for header in request.header_map.headers:
            yield header.key.lower(), header.value or header.raw_value.decode("latin-1")
        return
    for name, value in request.headers.items():
        yield name.lower(), value


def _allowed(passed: Passed) -> bytes:
    answer: bytes = CheckResponse(
        status=Status(code=code_pb2.OK),
        ok_response=OkHttpResponse(
            headers=[_header(name, value) for name, value in passed.headers.items()],
            headers_to_remove=passed.removed,
        ),
    ).SerializeToString()
    return answer


def _denied(stopped: Stopped) -> bytes:
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if stopped.challenge:
        headers["www-authenticate"] = stopped.challenge
    if stopped.retry_after:
        headers["retry-after"] = stopped.retry_after
    answer: bytes = CheckResponse(
        status=Status(code=_CODES.get(stopped.status, code_pb2.INTERNAL), message=stopped.description),
        denied_response=DeniedHttpResponse(
            status=HttpStatus(code=stopped.status),
            headers=[_header(name, value) for name, value in headers.items()],
            body=json.dumps({"error": stopped.error, "error_description": stopped.description}),
        ),
    ).SerializeToString()
    return answer


def _header(name: str, value: str) -> HeaderValueOption:
    # Without `append`, older versions of Envoy overwrite too.
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
