"""Userinfo (OpenID Connect Core section 5.3): what an application may know of the person who signed in.

The token comes in the header or in a posted form, has to be one for this endpoint, is checked like at any other API,
and says by its scopes what is told. The answer is read from the tables at that moment; a user who is disabled or gone
is told nothing of.
"""

from urllib.parse import urlsplit

from msgspec.json import encode
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.identity.domain.user import ADDRESS
from services.identity.issuer import Issuer
from services.identity.read_model import Questions, UserRow
from shared.errors import Refusal as Refused
from shared.http.errors import invalid_request, json_error
from shared.http.forms import read_form, single
from stagedoor.asgi import SCHEME, VERDICT, GuardMiddleware, Refusal
from stagedoor.certificate import ClientCertificates
from stagedoor.dpop import ALGORITHMS
from stagedoor.guard import Guard
from stagedoor.verdict import Allowed

SCOPES = ("openid", "profile", "email", "address", "phone")
"""Those that this endpoint has something to tell for."""
Claim = str | bool | int | dict[str, str]
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "WWW-Authenticate",
}
_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "Authorization, Content-Type, DPoP",
    "access-control-max-age": "3600",
}


class Userinfo:
    """GET and POST, with an access token; OPTIONS for browsers that ask first. Any origin: the token is what counts."""

    def __init__(
        self,
        questions: Questions,
        guard: Guard,
        issuer: Issuer,
        resource_metadata: str,
        client_certificates: ClientCertificates | None = None,
    ) -> None:
        self._questions = questions
        self._issuer = issuer
        self._metadata = resource_metadata
        self.takes_certificates = client_certificates is not None
        """Whether tokens that are bound to one are accepted (RFC 8705)."""
        self._guarded: ASGIApp = GuardMiddleware(
            self._answer,
            guard,
            resource_metadata_url=resource_metadata,
            scopes=("openid",),
            client_certificates=client_certificates,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def open_to_all(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))  # type: ignore[call-overload]
                message["headers"] = headers + [(name.encode(), value.encode()) for name, value in _CORS.items()]
            await send(message)

        if scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=_CORS | _PREFLIGHT)(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD", "POST"):
            await Response(status_code=405, headers=_CORS | {"allow": "GET, POST, OPTIONS"})(scope, receive, send)
        else:
            try:
                presented = await _with_token_of_form(scope, receive)
            except Refused as refused:
                await json_error(refused)(scope, receive, open_to_all)  # type: ignore[arg-type]
            else:
                await self._guarded(presented, receive, open_to_all)  # type: ignore[arg-type]

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        verdict = scope[VERDICT]
        if not isinstance(verdict, Allowed):
            raise TypeError("only accepted tokens come this far")
        try:
            found = await self._questions.user_for(verdict.sub, verdict.client_id)
            if found is None or not found[0].enabled:
                description = "the user of the token is not there"
                gone = Refusal(401, "invalid_token", description, metadata=self._metadata, scheme=scope[SCHEME])
                await gone(scope, receive, send)
                return
            user, signed = found
            told = encode(claims(user, verdict.scopes))
            if signed:
                told = (await self._issuer.sign_userinfo(_bearer(scope), told)).encode()
        except Refused as refused:
            await json_error(refused)(scope, receive, send)
            return
        kind = "application/jwt" if signed else "application/json"  # section 5.3.2
        await Response(told, media_type=kind)(scope, receive, send)


def _bearer(scope: Scope) -> str:
    """The token of a request that the guard has let through, which has one credential."""
    (value,) = (value for name, value in scope["headers"] if name == b"authorization")
    return str(value.decode("latin-1").strip().partition(" ")[2].lstrip(" "))


async def _with_token_of_form(scope: Scope, receive: Receive) -> Scope:
    """The request with the token of its form, if there is one (RFC 6750 section 2.2), where the guard looks for it.

    A second credential beside another one is left to the guard, too, which refuses both.
    """
    request = Request(scope, receive)
    if scope["method"] != "POST" or not _is_form(request):
        return scope
    token = single(await read_form(request), repeatable=()).get("access_token")
    if token is None:
        return scope
    if not token.isascii():
        raise invalid_request("the access token in the form is not well-formed")
    return {**scope, "headers": [*scope["headers"], (b"authorization", b"Bearer " + token.encode())]}


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == "application/x-www-form-urlencoded"


def claims(user: UserRow, scopes: frozenset[str]) -> dict[str, Claim]:
    """What the scopes let an application know (OpenID Connect Core section 5.4), without what has no value.

    A claim that was asked for by itself (section 5.5) has a scope of its own.
    """
    told: dict[str, Claim] = {
        name: value
        for scope, known in _known(user).items()
        for name, value in known.items()
        if value is not None and (scope in scopes or f"claim:{name}" in scopes)
    }
    return {"sub": user.sub, **told}


def _known(user: UserRow) -> dict[str, dict[str, Claim | None]]:
    """The claims that there are about a user, by scope."""
    address = {part: value for part in ADDRESS if (value := getattr(user, part)) is not None}
    return {
        "profile": {
            "name": user.shown_name,
            "given_name": user.given_name,
            "family_name": user.family_name,
            "preferred_username": user.user_name,
            "locale": user.locale,
            "zoneinfo": user.zoneinfo,
            "updated_at": int(user.updated_at.timestamp()),
        },
        "email": {"email": user.email, "email_verified": None if user.email is None else user.email_verified},
        "address": {"address": address or None},
        "phone": {
            "phone_number": user.phone_number,
            "phone_number_verified": None if user.phone_number is None else user.phone_number_verified,
        },
    }


def metadata_address(issuer: str) -> str:
    """Where the metadata below is found (RFC 9728 section 3.1)."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}{metadata_path(issuer)}"


def metadata_path(issuer: str) -> str:
    """The path of that address."""
    return f"/.well-known/oauth-protected-resource{urlsplit(issuer).path.rstrip('/')}/connect/userinfo"


def metadata(issuer: str, *, certificates: bool = False) -> dict[str, object]:
    """The protected resource metadata of this endpoint (RFC 9728 section 2); `certificates`: tokens are bound to."""
    return {
        "resource": f"{issuer}/connect/userinfo",
        "authorization_servers": [issuer],
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header", "body"],
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
        **({"tls_client_certificate_bound_access_tokens": True} if certificates else {}),
    }
