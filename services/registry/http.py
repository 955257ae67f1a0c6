"""Dynamic client registration over HTTP: translate, call, translate the answer.

    POST   {issuer}/connect/register               an initial access token registers an application (RFC 7591)
    GET    {issuer}/connect/register/{client_id}   its registration access token reads it (RFC 7592)
    PUT                                            changes all of it
    DELETE                                         uninstalls it

No page's script may call: what is answered is for the program that asks.
"""

import re
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.registering import Registering
from shared.encoding import strict_json
from shared.errors import Kind, Refusal
from shared.http.attempts import Attempts
from shared.http.client_address import Sent
from shared.http.errors import STATUS, invalid_request, json_error, unsupported_media_type

_JSON: Final = re.compile(r'application/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?', re.IGNORECASE)
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_INITIAL: Final = ("registration", "")
_NOT_STORED: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def application(registering: Registering, attempts: Attempts, issuer: str) -> Starlette:
    """The endpoints."""
    path = f"{urlsplit(issuer).path}/connect/register"
    edge = _Edge(registering, attempts)
    return Starlette(
        routes=[
            Route(path, edge.register, methods=["POST"]),
            Route(f"{path}/{{client_id:path}}", edge.manage, methods=["GET", "PUT", "DELETE"]),
        ]
    )


class _Edge:
    def __init__(self, registering: Registering, attempts: Attempts) -> None:
        self._registering = registering
        self._attempts = attempts

    async def register(self, request: Request) -> Response:
        """RFC 7591 section 3."""
        try:
            token = self._token(request, _INITIAL)
            # Nothing is read of a body whose sender may not register.
            await self._registering.allow(token)
            return _answer(201, await self._registering.register(token, await _metadata(request)))
        except Refusal as refusal:
            return self._refused(request, refusal, _INITIAL)

    async def manage(self, request: Request) -> Response:
        """RFC 7592 section 2."""
        client_id = str(request.path_params["client_id"])
        subject = ("registration", client_id)
        try:
            token = self._token(request, subject)
            if request.method == "DELETE":
                await self._registering.remove(client_id, token)
                return Response(status_code=204, headers=_NOT_STORED)
            if request.method == "PUT":
                await self._registering.read(client_id, token)
                return _answer(200, await self._registering.change(client_id, token, await _metadata(request)))
            return _answer(200, await self._registering.read(client_id, token))
        except Refusal as refusal:
            return self._refused(request, refusal, subject)

    def _token(self, request: Request, subject: tuple[str, str]) -> str:
        """The bearer token (RFC 6750 section 2.1); it stands in the header and nowhere else."""
        self._attempts.check(Sent.by(request.scope), subject)
        if request.scope["query_string"]:
            raise invalid_request("nothing belongs into the address")
        given = request.headers.getlist("authorization")
        if len(given) > 1:
            raise invalid_request("there is one header Authorization")
        found = _BEARER.fullmatch(given[0]) if given else None
        if found is None:
            raise Refusal(
                Kind.UNAUTHENTICATED, "unauthorized", "a token is needed: Authorization: Bearer, and the token"
            )
        return found[1]

    def _refused(self, request: Request, refusal: Refusal, subject: tuple[str, str]) -> Response:
        if refusal.kind is Kind.UNAUTHENTICATED:
            self._attempts.failed(Sent.by(request.scope), subject)
        if STATUS[refusal.kind] == STATUS[Kind.INVALID] and refusal.code == "invalid_scope":
            # RFC 7591 section 3.2.2 has no word of its own for it.
            refusal = Refusal(Kind.INVALID, "invalid_client_metadata", refusal.message)
        return json_error(refusal, _NOT_STORED)


async def _metadata(request: Request) -> dict[str, Any]:
    """The members of the body; raises `Refusal` for anything but one JSON object."""
    types = request.headers.getlist("content-type")
    if len(types) != 1 or not _JSON.fullmatch(types[0].strip(" \t")):
        raise unsupported_media_type("the body has to be application/json, in UTF-8")
    raw = await request.body()
    try:
        metadata = strict_json(raw.decode("utf-8"))
    except ValueError:
        raise invalid_request("the body is not JSON") from None
    if not isinstance(metadata, dict):
        raise invalid_request("the body is not a JSON object")
    return metadata


def _answer(status: int, said: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(said), status, _NOT_STORED, media_type="application/json")
