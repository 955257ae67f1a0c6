"""The issuer's HTTP: token, introspection, revocation, keys and metadata. Translate, call, translate."""

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.events import AuthMethod, GrantType
from services.token_issuer import forward_auth
from services.token_issuer.authorization import device
from services.token_issuer.authorization.pushing import push
from services.token_issuer.clients import Presented, presented
from services.token_issuer.discovery import at, document, oauth_path, openid_path
from services.token_issuer.gateway import Gateway
from services.token_issuer.grants import (
    authorization_code,
    client_credentials,
    device_code,
    refresh_token,
    token_exchange,
)
from services.token_issuer.grants.answer import Answer, BoundAnswer
from services.token_issuer.introspection import introspect
from services.token_issuer.issuer import Issuer
from services.token_issuer.key_proof import shown
from services.token_issuer.references.checks import ReferenceChecks
from services.token_issuer.revoking import revoke
from shared.errors import Kind, Refusal, Unavailable
from shared.http.endpoint import Application, Call, Endpoint, Headers, Reply, refused
from shared.http.errors import HttpRefusal, invalid_request, json_error
from shared.http.forms import Params, form_of, single
from shared.tally import Tallies
from stagedoor import Guard

_issued = Tallies("stagedoor_tokens_issued", "Answers of the token endpoint with tokens", ["grant_type"])
_issued_by = lru_cache(maxsize=32)(_issued.labels)

_Grant = Callable[[Issuer, Presented, Params], Awaitable[Answer | token_exchange.Answer]]
GRANTS: Mapping[str, _Grant] = {
    GrantType.AUTHORIZATION_CODE.value: authorization_code.redeem,
    GrantType.REFRESH_TOKEN.value: refresh_token.refresh,
    GrantType.CLIENT_CREDENTIALS.value: client_credentials.issue,
    GrantType.DEVICE_CODE.value: device_code.poll,
}

_NOT_STORED: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_KEPT: Final = {"Cache-Control": "public, max-age=300"}
"""Metadata changes seldom."""

_OPEN: Final = {"Access-Control-Allow-Origin": "*"}
"""Any page's script may call: nothing here goes by cookies, so its user's browser lends it no authority."""
_PREFLIGHT: Final = {
    **_OPEN,
    "Access-Control-Allow-Headers": "authorization, content-type, dpop",
    "Access-Control-Max-Age": "3600",
    "Vary": "Access-Control-Request-Headers, Access-Control-Request-Method",
}
_PLAIN: Final[Headers] = tuple((name.lower().encode(), value.encode()) for name, value in _NOT_STORED.items())
_JSON: Final[Headers] = ((b"content-type", b"application/json"), *_PLAIN)
_TO_PAGES: Final[Headers] = tuple((name.lower().encode(), value.encode()) for name, value in _OPEN.items())

_HEADERS: Final = (b"content-type", b"content-encoding", b"authorization", b"dpop")
"""Those of a request that matter."""

UNSUPPORTED_MEDIA_TYPE: Final = 415

_CLIENT: Final = "client"
_CODE: Final = "code"
"""What can fail too often: an application's proof, and the redemption of codes in its name."""
_PUSH: Final = "push"
"""What can be done too often in the name of an application that proves nothing."""

T = TypeVar("T")
_Handler = Callable[[Request], Awaitable[Response]]


def application(
    issuer: Issuer, guard: Guard, references: ReferenceChecks, gateway: Gateway | None = None
) -> Application:
    """The application; `guard` has to be running. `gateway` decides for proxies."""
    base = urlsplit(issuer.policy.issuer).path + "/connect"
    edge = _Edge(issuer, guard, references)
    metadata = msgspec.json.encode(document(issuer.policy.issuer, issuer.mutual_tls))

    async def describe(_: Request) -> Response:
        return _json(metadata, _KEPT)

    async def keys(_: Request) -> Response:
        # A key is announced for longer than this before it is used.
        await issuer.keys.renew()
        return _json(issuer.keys.jwks, {"Cache-Control": f"public, max-age={issuer.keys.jwks_seconds}"})

    return Application(
        routes=[
            Route(f"{base}/jwks", _cors(keys, "GET"), methods=["GET", "OPTIONS"]),
            Route(openid_path(issuer.policy.issuer), _cors(describe, "GET"), methods=["GET", "OPTIONS"]),
            Route(oauth_path(issuer.policy.issuer), _cors(describe, "GET"), methods=["GET", "OPTIONS"]),
        ],
        endpoints={
            f"{base}/token": {"POST": _refusing(edge.token, _OPEN), "OPTIONS": _preflight},
            f"{base}/introspect": {"POST": _refusing(edge.introspect, {})},
            f"{base}/revocation": {"POST": _refusing(edge.revoke, _OPEN), "OPTIONS": _preflight},
            f"{base}/par": {"POST": _refusing(edge.push, _OPEN), "OPTIONS": _preflight},
            f"{base}/device": {"POST": _refusing(edge.device, _OPEN), "OPTIONS": _preflight},
            **({} if gateway is None else forward_auth.endpoints(gateway)),
        },
    )


class _Edge:
    """The endpoints that clients authenticate at."""

    def __init__(self, issuer: Issuer, guard: Guard, references: ReferenceChecks) -> None:
        self._issuer = issuer
        self._guard = guard
        self._references = references
        self._grants: Mapping[str, _Grant] = {
            **GRANTS,
            GrantType.TOKEN_EXCHANGE.value: lambda issuer, who, form: token_exchange.exchange(issuer, guard, who, form),
        }
        self._mutual_tls = issuer.mutual_tls

    async def token(self, call: Call) -> Reply:
        """RFC 6749 section 3.2."""
        form, who = self._form_with_key(call, "token")
        grant_type = form.require("grant_type")
        grant = self._grants.get(grant_type)
        if grant is None:
            raise Refusal(Kind.INVALID, "unsupported_grant_type", "the grant_type is not supported")
        answer = await self._attempt(call, who, form, lambda: grant(self._issuer, who, form))
        if who.key is not None and not isinstance(answer, BoundAnswer):
            raise TypeError("a key was shown, and the grant has bound nothing to it")
        _issued_by(grant_type).count += 1
        return Reply(200, (*_JSON, *_TO_PAGES), msgspec.json.encode(answer))

    async def introspect(self, call: Call) -> Reply:
        """RFC 7662 section 2."""
        form, who, _ = self._asked(call)
        answer: dict[str, Any] = await self._attempt(
            call, who, form, lambda: introspect(self._issuer, self._guard, self._references, who, form)
        )
        return Reply(200, _JSON, msgspec.json.encode(answer))

    async def revoke(self, call: Call) -> Reply:
        """RFC 7009 section 2; where something was revoked, the answer says at which position of the log."""
        form, who, _ = self._asked(call)
        position = await self._attempt(call, who, form, lambda: revoke(self._issuer, who, form))
        at: Headers = ((b"stagedoor-position", b"%d" % position),) if position else ()
        return Reply(200, (*_PLAIN, *_TO_PAGES, *at), b"")

    async def push(self, call: Call) -> Reply:
        """RFC 9126 section 2."""
        form, who = self._form_with_key(call, "par")
        pushed = await self._leave(call, who, form, lambda: push(self._issuer, who, form))
        answer = {"request_uri": pushed.request_uri, "expires_in": pushed.expires_in}
        return Reply(201, (*_JSON, *_TO_PAGES), msgspec.json.encode(answer))

    async def device(self, call: Call) -> Reply:
        """RFC 8628 section 3.1."""
        form, who, _ = self._asked(call)
        asked = await self._leave(call, who, form, lambda: device.request(self._issuer, who, form))
        page = f"{self._issuer.policy.issuer}/device"
        answer = {
            "device_code": asked.device_code,
            "user_code": asked.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={asked.user_code}",
            "expires_in": asked.expires_in,
            "interval": asked.interval,
        }
        return Reply(200, (*_JSON, *_TO_PAGES), msgspec.json.encode(answer))

    async def _leave(self, call: Call, who: Presented, form: Params, work: Callable[[], Awaitable[T]]) -> T:
        """Leave a request. Whoever proves nothing may do so, too: each of theirs counts, as if it had failed."""
        push = (_PUSH, who.client_id)
        if who.method is AuthMethod.NONE:
            self._issuer.attempts.check(call, push)
        if who.anonymous:
            self._issuer.attempts.failed(call, push)
        try:
            return await self._attempt(call, who, form, work)
        finally:
            # A certificate is somebody's word only once it was found to be the application's.
            if who.certificate is not None and who.method is AuthMethod.NONE and not who.certificate.proved:
                self._issuer.attempts.failed(call, push)

    def _form_with_key(self, call: Call, endpoint: str) -> tuple[Params, Presented]:
        """The parameters and who asks, with the key that they show to hold, if they do (RFC 9449 section 5)."""
        form, who, proofs = self._asked(call)
        if proofs:
            issuer = self._issuer
            base = issuer.policy.issuer
            if who.certificate is not None and self._mutual_tls is not None:
                base = at(base, self._mutual_tls.origin)
            uri = f"{base}/connect/{endpoint}"
            who = replace(who, key=shown(proofs, uri, issuer.clock(), issuer.policy.proof_window))
        return form, who

    def _asked(self, call: Call) -> tuple[Params, Presented, list[str]]:
        """The parameters, who asks, and the `DPoP` headers."""
        form, who, proofs = _asked(call)
        if self._mutual_tls is not None:
            certificate = self._mutual_tls.of(call, self._issuer.clock())
            if certificate is not None:
                who = replace(who, certificate=certificate)
        return form, who, proofs

    async def _attempt(self, call: Call, who: Presented, form: Params, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work, unless this client has failed too often from where the call comes; remember if it fails."""
        attempts, client_id = self._issuer.attempts, who.client_id
        if attempts.watching:
            tried = (_CLIENT, client_id), (_CODE, client_id)
            attempts.check(call, *(tried if "code" in form else tried[:1]))
        try:
            return await self._issuer.patiently(work)
        except Refusal as failure:
            refusal = await self._used_up(who, failure)
            if refusal.code == "invalid_client":
                attempts.failed(call, (_CLIENT, client_id))
            elif refusal.code == "invalid_grant":
                attempts.failed(call, *([(_CODE, client_id)] if "code" in form else []))
            raise refusal from None

    async def _used_up(self, who: Presented, refusal: Refusal) -> Refusal:
        """What to answer: a proved assertion is used up, whatever became of the request, unless nothing was decided."""
        if who.assertion is not None and who.assertion.proved and not isinstance(refusal, Unavailable):
            try:
                await self._issuer.spend(who.assertion)
            except Refusal as worse:
                return worse
        return refusal


def _asked(call: Call) -> tuple[Params, Presented, list[str]]:
    """The same by what every client may send.

    What stands in the address ends up in logs, so nothing may (RFC 6749 section 2.3.1).
    """
    if call.query:
        raise invalid_request("parameters belong into the body, never into the address")
    types, encodings, credentials, proofs = call.values(*_HEADERS)
    try:
        form = single(form_of(types, encodings, call.body))
    except HttpRefusal as refusal:
        if refusal.status != UNSUPPORTED_MEDIA_TYPE:
            raise
        raise invalid_request(refusal.message) from None  # the word that RFC 6749 section 5.2 has for it
    return form, presented(credentials, form), proofs


def _refusing(endpoint: Endpoint, more: Mapping[str, str]) -> Endpoint:
    """The endpoint, its refusals in the shape of RFC 6749 section 5.2, with `more` headers."""
    headers = {**_NOT_STORED, **more}

    async def answer(call: Call) -> Reply:
        try:
            return await endpoint(call)
        except Refusal as refusal:
            return refused(refusal, headers)

    return answer


async def _preflight(_: Call) -> Reply:
    """The answer to the question that a page's browser asks beforehand."""
    headers = {**_PREFLIGHT, "Access-Control-Allow-Methods": "POST"}
    return Reply(204, tuple((name.lower().encode(), value.encode()) for name, value in headers.items()), b"")


def _json(content: bytes, headers: Mapping[str, str]) -> Response:
    return Response(content, 200, dict(headers), media_type="application/json")


def _cors(handler: _Handler, method: str) -> _Handler:
    """The handler for pages of any origin, and the answer to their browsers' question beforehand."""

    async def answer(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(b"", 204, {**_PREFLIGHT, "Access-Control-Allow-Methods": method})
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = json_error(refusal, _NOT_STORED)
        response.headers.update(_OPEN)
        return response

    return answer
