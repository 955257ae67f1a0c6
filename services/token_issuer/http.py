"""The issuer's HTTP: token, introspection, revocation, keys and metadata. Translate, call, translate."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.events import GrantType
from services.token_issuer.clients import Presented, presented
from services.token_issuer.discovery import document, oauth_path, openid_path
from services.token_issuer.grants import authorization_code, client_credentials, refresh_token
from services.token_issuer.grants.answer import Answer
from services.token_issuer.introspection import introspect
from services.token_issuer.issuer import Issuer
from services.token_issuer.revoking import revoke
from shared.errors import Kind, Refusal
from shared.http.errors import HttpRefusal, invalid_request, json_error
from shared.http.forms import Params, read_form, single
from stagedoor import Guard

_issued = Counter("stagedoor_tokens_issued_total", "Answers of the token endpoint with tokens", ["grant_type"])

GRANTS: Mapping[str, Callable[[Issuer, Presented, Params], Awaitable[Answer]]] = {
    GrantType.AUTHORIZATION_CODE.value: authorization_code.redeem,
    GrantType.REFRESH_TOKEN.value: refresh_token.refresh,
    GrantType.CLIENT_CREDENTIALS.value: client_credentials.issue,
}

_NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_KEPT = {"Cache-Control": "public, max-age=300"}
"""Metadata and keys change seldom, and a new key is announced before it is used."""

_OPEN = {"Access-Control-Allow-Origin": "*"}
"""Any page's script may call: nothing here goes by cookies, so its user's browser lends it no authority."""
_PREFLIGHT = {
    **_OPEN,
    "Access-Control-Allow-Headers": "authorization, content-type",
    "Access-Control-Max-Age": "3600",
    "Vary": "Access-Control-Request-Headers, Access-Control-Request-Method",
}

UNSUPPORTED_MEDIA_TYPE = 415

_Handler = Callable[[Request], Awaitable[Response]]


def application(issuer: Issuer, guard: Guard) -> Starlette:
    """The application; `guard` has to be running."""
    base = urlsplit(issuer.policy.issuer).path + "/connect"
    edge = _Edge(issuer, guard)
    metadata = msgspec.json.encode(document(issuer.policy.issuer))

    async def describe(_: Request) -> Response:
        return _json(metadata, _KEPT)

    async def keys(_: Request) -> Response:
        return _json(issuer.keys.jwks, _KEPT)

    return Starlette(
        routes=[
            Route(f"{base}/token", _cors(edge.token, "POST"), methods=["POST", "OPTIONS"]),
            Route(f"{base}/introspect", _refusing(edge.introspect, {}), methods=["POST"]),
            Route(f"{base}/revocation", _refusing(edge.revoke, {}), methods=["POST"]),
            Route(f"{base}/jwks", _cors(keys, "GET"), methods=["GET", "OPTIONS"]),
            Route(openid_path(issuer.policy.issuer), _cors(describe, "GET"), methods=["GET", "OPTIONS"]),
            Route(oauth_path(issuer.policy.issuer), _cors(describe, "GET"), methods=["GET", "OPTIONS"]),
        ]
    )


class _Edge:
    """The endpoints that clients authenticate at."""

    def __init__(self, issuer: Issuer, guard: Guard) -> None:
        self._issuer = issuer
        self._guard = guard

    async def token(self, request: Request) -> Response:
        """RFC 6749 section 3.2."""
        form, who = await _form(request)
        grant_type = form.require("grant_type")
        grant = GRANTS.get(grant_type)
        if grant is None:
            raise Refusal(Kind.INVALID, "unsupported_grant_type", "the grant_type is not supported")
        answer = await self._issuer.patiently(lambda: grant(self._issuer, who, form))
        _issued.labels(grant_type).inc()
        return _json(msgspec.json.encode(answer.body()), _NOT_STORED)

    async def introspect(self, request: Request) -> Response:
        """RFC 7662 section 2."""
        form, who = await _form(request)
        answer: dict[str, Any] = await self._issuer.patiently(lambda: introspect(self._issuer, self._guard, who, form))
        return _json(msgspec.json.encode(answer), _NOT_STORED)

    async def revoke(self, request: Request) -> Response:
        """RFC 7009 section 2; where something was revoked, the answer says at which position of the log."""
        form, who = await _form(request)
        position = await self._issuer.patiently(lambda: revoke(self._issuer, who, form))
        return Response(b"", 200, {**_NOT_STORED, **({"Stagedoor-Position": str(position)} if position else {})})


async def _form(request: Request) -> tuple[Params, Presented]:
    """The parameters and who asks. What stands in the address ends up in logs, so nothing may (RFC 6749, 2.3.1)."""
    if request.scope["query_string"]:
        raise invalid_request("parameters belong into the body, never into the address")
    try:
        form = single(await read_form(request))
    except HttpRefusal as refusal:
        if refusal.status != UNSUPPORTED_MEDIA_TYPE:
            raise
        raise invalid_request(refusal.message) from None  # the word that RFC 6749 section 5.2 has for it
    return form, presented(request.headers.getlist("authorization"), form)


def _json(content: bytes, headers: Mapping[str, str]) -> Response:
    return Response(content, 200, dict(headers), media_type="application/json")


def _refusing(handler: _Handler, more: Mapping[str, str]) -> _Handler:
    """The handler, its refusals in the shape of RFC 6749 section 5.2; answers of both kinds get `more` headers."""

    async def answer(request: Request) -> Response:
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = json_error(refusal, _NOT_STORED)
        response.headers.update(more)
        return response

    return answer


def _cors(handler: _Handler, method: str) -> _Handler:
    """The handler for pages of any origin, and the answer to their browsers' question beforehand."""
    plain = _refusing(handler, _OPEN)

    async def answer(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(b"", 204, {**_PREFLIGHT, "Access-Control-Allow-Methods": method})
        return await plain(request)

    return answer
