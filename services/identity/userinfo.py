"""Userinfo (OpenID Connect Core section 5.3): what an application may know of the person who signed in.

The token has to be one for this endpoint, is checked like at any other API, and says by its scopes what is told. The
answer is read from the tables at that moment; a user who is disabled or gone is told nothing of.
"""

from urllib.parse import urlsplit

from msgspec.json import encode
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.identity.read_model import Questions, UserRow
from shared.errors import Unavailable
from shared.http.errors import json_error
from stagedoor.asgi import VERDICT, GuardMiddleware, Refusal
from stagedoor.guard import Guard
from stagedoor.verdict import Allowed

SCOPES = ("openid", "profile", "email")
"""Those that this endpoint has something to tell for."""
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "WWW-Authenticate",
}
_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "Authorization, Content-Type",
    "access-control-max-age": "3600",
}


class Userinfo:
    """GET and POST, with an access token; OPTIONS for browsers that ask first. Any origin: the token is what counts."""

    def __init__(self, questions: Questions, guard: Guard, resource_metadata: str) -> None:
        self._questions = questions
        self._metadata = resource_metadata
        self._guarded: ASGIApp = GuardMiddleware(
            self._answer,
            guard,
            resource_metadata_url=resource_metadata,
            scopes=("openid",),
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
            await self._guarded(scope, receive, open_to_all)  # type: ignore[arg-type]

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        verdict = scope[VERDICT]
        if not isinstance(verdict, Allowed):
            raise TypeError("only accepted tokens come this far")
        try:
            user = await self._questions.user(verdict.sub)
        except Unavailable as unavailable:
            await json_error(unavailable)(scope, receive, send)
            return
        if user is None or not user.enabled:
            refused = Refusal(401, "invalid_token", "the user of the token is not there", metadata=self._metadata)
            await refused(scope, receive, send)
            return
        await Response(encode(claims(user, verdict.scopes)), media_type="application/json")(scope, receive, send)


def claims(user: UserRow, scopes: frozenset[str]) -> dict[str, str | bool | int]:
    """What the scopes let an application know (OpenID Connect Core section 5.4), without what has no value."""
    told: dict[str, str | bool | int | None] = {"sub": user.sub}
    if "profile" in scopes:
        told |= {
            "name": user.shown_name,
            "given_name": user.given_name,
            "family_name": user.family_name,
            "preferred_username": user.user_name,
            "locale": user.locale,
            "zoneinfo": user.zoneinfo,
            "updated_at": int(user.updated_at.timestamp()),
        }
    if "email" in scopes and user.email is not None:
        told |= {"email": user.email, "email_verified": user.email_verified}
    return {name: value for name, value in told.items() if value is not None}


def metadata_address(issuer: str) -> str:
    """Where the metadata below is found (RFC 9728 section 3.1)."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}{metadata_path(issuer)}"


def metadata_path(issuer: str) -> str:
    """The path of that address."""
    return f"/.well-known/oauth-protected-resource{urlsplit(issuer).path.rstrip('/')}/connect/userinfo"


def metadata(issuer: str) -> dict[str, object]:
    """The protected resource metadata of this endpoint (RFC 9728 section 2)."""
    return {
        "resource": f"{issuer}/connect/userinfo",
        "authorization_servers": [issuer],
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
    }
