"""Tokens at an ASGI application (RFC 6750, 8705, 9449), and refusals that a client understands (RFC 9728).

app = GuardMiddleware(app, guard, resource_metadata_url="https://api.example.com/.well-known/...")

@require("update")
async def change(request): ...        # request.scope["stagedoor"] is the verdict: who, through what
"""

import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

from stagedoor.certificate import Certificate, ClientCertificates
from stagedoor.dpop import ALGORITHMS, Proof
from stagedoor.guard import Guard
from stagedoor.presented import Presented
from stagedoor.reference import PREFIXES
from stagedoor.verdict import Allowed, Denied, Reason

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Request = TypeVar("Request")

VERDICT = "stagedoor"
"""Where the verdict is found in the scope of a request."""
_METADATA = "stagedoor.resource_metadata"
SCHEME = "stagedoor.scheme"
"""Where it is found how the token came: `Bearer` or `DPoP`."""

_RETRY_AFTER = "1"
_ALGORITHMS = " ".join(ALGORITHMS)
_KEYS = tuple(prefix.decode() for prefix in PREFIXES)
_TOKEN_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")


class Refusal:
    """A refusal as an ASGI response: status, `WWW-Authenticate`, and the error as JSON."""

    def __init__(  # noqa: PLR0913  (the parts of a challenge)
        self,
        status: int,
        error: str | None,
        description: str,
        *,
        metadata: str,
        scopes: Collection[str] = (),
        retry_after: str | None = None,
        scheme: str = "Bearer",
    ) -> None:
        """`scheme`: how the token came, `Bearer` or `DPoP`: its challenge says what is wrong."""
        self.status = status
        self.error = error
        self.description = description
        self._metadata = metadata
        self._scopes = scopes
        self._retry_after = retry_after
        self._scheme = scheme

    @property
    def challenge(self) -> str:
        """The value of `WWW-Authenticate` (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9728 section 5.1).

        Both schemes may be used, and which tokens are bound is not the resource's to say.
        """
        parameters = []
        if self.error is not None:
            parameters += [("error", self.error), ("error_description", self.description)]
        if self._scopes:
            parameters.append(("scope", " ".join(self._scopes)))
        parameters += [("resource_metadata", self._metadata), *self._further()]
        if self._scheme == "DPoP":
            parameters.append(("algs", _ALGORITHMS))
        challenge = f"{self._scheme} " + ", ".join(f'{name}="{_quoted(value)}"' for name, value in parameters)
        return challenge if self._scheme == "DPoP" else f'{challenge}, DPoP algs="{_ALGORITHMS}"'

    def _further(self) -> Sequence[tuple[str, str]]:
        """What a refusal of another kind says besides, of its own challenge."""
        return ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with it."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": self.description})
            return
        body = json.dumps({"error": self.error or "unauthorized", "error_description": self.description}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"www-authenticate", self.challenge.encode("latin-1")),
        ]
        if self._retry_after is not None:
            headers.append((b"retry-after", self._retry_after.encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})


def refusal(verdict: Denied, *, metadata: str, scheme: str = "Bearer") -> Refusal:
    """What a denied verdict is over HTTP (RFC 6750 section 3.1): 401, 403, or 503 where it could not be decided."""
    status, error, retry_after = 401, "invalid_token", None
    if verdict.temporary:
        status, error, retry_after = 503, "temporarily_unavailable", _RETRY_AFTER
    elif verdict.reason is Reason.INSUFFICIENT_SCOPE:
        status, error = 403, "insufficient_scope"
    elif verdict.reason is Reason.INVALID_PROOF:
        error = "invalid_dpop_proof"
    return Refusal(
        status,
        error,
        verdict.description,
        metadata=metadata,
        scopes=verdict.scopes,
        retry_after=retry_after,
        scheme=scheme,
    )


class GuardMiddleware:
    """Lets a request through with an accepted token, and puts the verdict into `scope["stagedoor"]`.

    The token comes as `Authorization: Bearer`, as `Authorization: DPoP` with the proof in the one `DPoP` header if it
    is bound to a key, as `Bearer` over a connection with its certificate if it is bound to that, or as `X-Api-Key` if
    it is a reference token, once, and in no other way: a request with a token in its query string, or with two
    credentials, is refused (RFC 6750 section 2). Paths in `open_paths` are let through as they are, without a verdict.
    """

    def __init__(  # noqa: PLR0913  (each is one independent decision of the resource)
        self,
        app: App,
        guard: Guard,
        *,
        resource_metadata_url: str,
        scopes: Collection[str] = (),
        open_paths: Collection[str] = (),
        public_url: str | None = None,
        client_certificates: ClientCertificates | None = None,
    ) -> None:
        """`scopes` are needed for every path; `open_paths` are compared as they stand.

        `public_url`: where clients reach the root of this application, `https://api.example.com` say, with what a proxy
        takes off their paths. Proofs are for addresses below it; what a request says of its host counts for nothing.
        None: the origin of `resource_metadata_url`.

        `client_certificates`: from whom to believe which certificate a connection was opened with. None: from nobody,
        so tokens that are bound to one are refused.
        """
        self._app = app
        self._guard = guard
        self._metadata = resource_metadata_url
        self._scopes = tuple(scopes)
        self._open = frozenset(open_paths)
        metadata = urlsplit(resource_metadata_url)
        self._public = (public_url or f"{metadata.scheme}://{metadata.netloc}").rstrip("/")
        self._certificates = client_certificates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge the request's token, then go on or answer the refusal."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in self._open:
            await self._app(scope, receive, send)
            return
        presented = self._presented(scope)
        if isinstance(presented, Refusal):
            await presented(scope, receive, send)
            return
        verdict = await self._guard.validate(presented.token, scopes=self._scopes, proof=presented.proof)
        scheme = presented.scheme
        if isinstance(verdict, Denied):
            await refusal(verdict, metadata=self._metadata, scheme=scheme)(scope, receive, send)
            return
        await self._app({**scope, VERDICT: verdict, _METADATA: self._metadata, SCHEME: scheme}, receive, send)

    def _presented(self, scope: Scope) -> Presented | Refusal:
        """The one token of a request."""
        credentials = [(name, value) for name, value in scope["headers"] if name in (b"authorization", b"x-api-key")]
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if any(name == "access_token" or value.startswith(_KEYS) for name, value in query):
            return self._invalid("a token in a query string is not accepted; it belongs into a header")
        if len(credentials) > 1:
            return self._invalid("the request has more than one credential")
        if not credentials:
            return Refusal(401, None, "an access token is needed", metadata=self._metadata)
        ((name, raw),) = credentials
        value: str = raw.decode("latin-1")
        if name == b"x-api-key":
            # Nothing but a reference token: an access token there would be one that proxies do not know to hide.
            return Presented(value) if value.startswith(_KEYS) else self._invalid("X-Api-Key takes a reference token")
        return self._authorization(scope, value)

    def _authorization(self, scope: Scope, value: str) -> Presented | Refusal:
        """The token of an Authorization header (RFC 6750 section 2.1, RFC 9449 section 7.1)."""
        scheme, space, token = value.strip().partition(" ")
        scheme = scheme.lower()
        if scheme not in ("bearer", "dpop"):
            return Refusal(401, None, "an access token is needed, as Bearer or DPoP", metadata=self._metadata)
        token = token.lstrip(" ")
        if not (space and token and _TOKEN_CHARACTERS.issuperset(token)):
            return self._invalid("the Authorization header is not well-formed")
        if scheme == "dpop":
            return self._proved(scope, token)
        try:
            return Presented(token, self._certificate(scope))
        except ValueError:
            return self._invalid("the client certificate is not passed on in a way that can be relied on")

    def _certificate(self, scope: Scope) -> Certificate | None:
        """What the connection was opened with (RFC 8705 section 3)."""
        if self._certificates is None:
            return None
        client = scope.get("client")
        return self._certificates.of(scope["headers"], client[0] if client else "")

    def _proved(self, scope: Scope, token: str) -> Presented | Refusal:
        """A token that comes with a proof, for the request as its client made it."""
        proofs = [value for name, value in scope["headers"] if name == b"dpop"]
        if len(proofs) != 1:
            description = "a token that is presented as DPoP needs exactly one DPoP header"
            return Refusal(401, "invalid_dpop_proof", description, metadata=self._metadata, scheme="DPoP")
        path = scope.get("raw_path") or quote(scope["path"], safe="/:@!$&'()*+,;=~").encode()
        # A WebSocket is begun by a GET (RFC 6455 section 4.1).
        uri = self._public + path.partition(b"?")[0].decode("latin-1")
        return Presented(token, Proof(scope.get("method", "GET"), uri, proofs[0].decode("latin-1")))

    def _invalid(self, description: str) -> Refusal:
        return Refusal(400, "invalid_request", description, metadata=self._metadata)


def require(
    *scopes: str,
) -> Callable[[Callable[[Request], Awaitable[Any]]], Callable[[Request], Awaitable[Any]]]:
    """An endpoint (of Starlette, or any that answers with an ASGI response) that needs these scopes."""

    def decorate(endpoint: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Any]]:
        @wraps(endpoint)
        async def guarded(request: Request) -> Any:
            scope: Scope = request.scope  # type: ignore[attr-defined]  # every framework's request has one
            verdict = scope[VERDICT]
            if not isinstance(verdict, Allowed):
                raise TypeError("the endpoint stands outside the GuardMiddleware")
            if not verdict.scopes.issuperset(scopes):
                return Refusal(
                    403,
                    "insufficient_scope",
                    "the token does not have the scope that this needs",
                    metadata=scope[_METADATA],
                    scopes=scopes,
                    scheme=scope[SCHEME],
                )
            return await endpoint(request)

        return guarded

    return decorate


def _quoted(value: str) -> str:
    """Inside a quoted-string (RFC 9110 section 5.6.4); all values are ours or registered scopes."""
    return value.replace("\\", "\\\\").replace('"', '\\"')
