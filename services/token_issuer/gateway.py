"""What a proxy asks before it lets a request through: Envoy by `ext_authz`, Caddy by `forward_auth`, or nginx.

The rules are the same for all of them, and those of a resource that checks by itself (RFC 6750, 9449, 9728): one
credential, in a header; 401, 403 or 503 with a challenge; and what goes on to the resource says who it is, in headers
that nobody else can have set.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from services.token_issuer.audiences import AudienceCallers
from services.token_issuer.references.checks import ReferenceChecks
from services.token_issuer.references.texts import looks_like_reference
from shared.errors import Kind, Refusal, Unavailable
from stagedoor import Allowed, Denied, Guard
from stagedoor.asgi import Refusal as Challenge
from stagedoor.asgi import refusal
from stagedoor.certificate import from_field
from stagedoor.dpop import Proof
from stagedoor.presented import Presented
from stagedoor.verdict import Reason, Verdict, denied

IDENTITY: Final = (
    *("x-stagedoor-sub", "x-stagedoor-client-id", "x-stagedoor-scope", "x-stagedoor-position"),
    "x-stagedoor-actors",
)
"""Headers that tell the resource who it is; set from the verdict alone. The last one only for a token from an exchange:
the applications that act for one another, the one that sent it first."""
OURS: Final = "x-stagedoor-"
"""No header that begins so goes on to the resource unless it is set here."""
CREDENTIALS: Final = ("authorization", "x-api-key")
"""They end at the proxy: the resource is told who it is, and cannot use the token elsewhere."""
PROOF: Final = "dpop"
"""So does the proof, which is used up."""
_PUNCTUATION: Final = re.compile(r"[^a-z0-9]")
_REFERENCE: Final = "stagedoor_"
_LONGEST: Final = 2048
_CHARACTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")

Judge = Callable[[Presented, str, Sequence[str]], Awaitable[Verdict]]
"""From a token, an audience and the scopes that are needed to the verdict."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that wants to go through, and what it needs for that."""

    caller: str
    """The proxy, as its certificate names it."""
    audience: str
    scopes: Sequence[str]
    headers: Sequence[tuple[str, str]] = field(repr=False)
    """As the client sent them; names in lower case."""
    target: str = field(repr=False)
    """Path and query, as the client sent them; empty: the proxy does not tell, or not beyond doubt."""
    method: str = ""
    """The same of its method."""
    origin: str = ""
    """Where clients reach the resource, if that is not the origin of its identifier; by the proxy's settings."""
    metadata: str = ""
    """Where the resource's metadata is (RFC 9728), if not at the usual place."""
    certificate: str = field(default="", repr=False)
    """What the client has opened its connection with, as the proxy itself says it; none of the headers."""


@dataclass(frozen=True, slots=True)
class Passed:
    """It goes through."""

    headers: Mapping[str, str]
    """To be set, instead of whatever the client sent under these names."""
    removed: Sequence[str]
    """Names that do not go on to the resource."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """It does not; this is the answer to the client."""

    status: int
    error: str
    description: str
    challenge: str = ""
    """The value of `WWW-Authenticate`."""
    retry_after: str = ""


def judge_by(guard: Guard, references: ReferenceChecks) -> Judge:
    """Judges as `guard` does, which has to be running; reference tokens as `references` does."""

    async def judge(presented: Presented, audience: str, scopes: Sequence[str]) -> Verdict:
        token, proof = presented
        if looks_like_reference(token):
            if isinstance(proof, Proof):
                return denied(Reason.PROOF_MISMATCH)
            return await references.verdict(token, audience=audience, scopes=scopes)
        return await guard.validate(token, audience=audience, scopes=scopes, proof=proof)

    return judge


class Gateway:
    """Decides for proxies. Raises nothing that says no: a proxy might take an error for a yes."""

    def __init__(self, judge: Judge, callers: AudienceCallers) -> None:
        self._judge = judge
        self._callers = callers

    async def decide(self, asked: Asked) -> Passed | Stopped:  # noqa: PLR0911  (one for each way to be stopped)
        """Whether the request goes through."""
        if not asked.audience or len(asked.audience) > _LONGEST:
            return Stopped(500, "server_error", "the proxy does not say which resource this is")
        try:
            await self._callers.require(asked.caller, asked.audience)
        except Unavailable as unavailable:
            return Stopped(503, "temporarily_unavailable", unavailable.message, retry_after="1")
        except Refusal:
            return Stopped(500, "server_error", "the proxy may not ask about tokens of this resource")
        metadata = asked.metadata or metadata_url(asked.audience)
        presented = _presented(asked, metadata)
        if isinstance(presented, Challenge):
            return _stopped(presented)
        try:
            verdict = await self._judge(presented, asked.audience, asked.scopes)
        except Refusal as unable:
            status = 429 if unable.kind is Kind.EXHAUSTED else 503
            return Stopped(status, "temporarily_unavailable", unable.message, retry_after="1")
        if isinstance(verdict, Denied):
            return _stopped(refusal(verdict, metadata=metadata, scheme=presented.scheme))
        return _passed(verdict, asked.headers)


def metadata_url(audience: str) -> str:
    """Where a resource's metadata is: between the host and the path of its identifier (RFC 9728 section 3.1)."""
    parts = urlsplit(audience)
    path = "" if parts.path == "/" else parts.path
    return parts._replace(path=f"/.well-known/oauth-protected-resource{path}", fragment="").geturl()


def _presented(asked: Asked, metadata: str) -> Presented | Challenge:  # noqa: PLR0911  (one for each way to be wrong)
    """The one token of a request."""
    if any(_looks_like_ours(name) for name, _ in asked.headers):
        return _invalid("a header field is spelled nearly like one that the proxy sets or takes away", metadata)
    query = parse_qsl(asked.target.partition("?")[2], keep_blank_values=True)
    if any(name == "access_token" for name, _ in query):
        return _invalid("a token in a query string is not accepted; it belongs into the Authorization header", metadata)
    given = [(name, value.strip(" \t")) for name, value in asked.headers if name in CREDENTIALS]
    if len(given) > 1:
        return _invalid("the request has more than one credential", metadata)
    if not given:
        return Challenge(401, None, "an access token is needed", metadata=metadata)
    name, value = given[0]
    if name == "x-api-key":
        if not (value.startswith(_REFERENCE) and _CHARACTERS.issuperset(value)):
            return Challenge(401, "invalid_token", "X-Api-Key takes a reference token", metadata=metadata)
        return Presented(value)
    scheme, space, token = value.partition(" ")
    scheme = scheme.lower()
    if scheme not in ("bearer", "dpop"):
        return Challenge(401, None, "an access token is needed, as Bearer or DPoP", metadata=metadata)
    token = token.lstrip(" ")
    if not (space and token and _CHARACTERS.issuperset(token)):
        return _invalid("the Authorization header is not well-formed", metadata)
    return _borne(asked, token, metadata) if scheme == "bearer" else _proved(asked, token, metadata)


def _borne(asked: Asked, token: str, metadata: str) -> Presented | Challenge:
    """A token that comes over a connection, which may have been opened with a certificate (RFC 8705 section 3)."""
    try:
        return Presented(token, from_field(asked.certificate))
    except ValueError:
        return _invalid("the client certificate is not well-formed", metadata)


def _proved(asked: Asked, token: str, metadata: str) -> Presented | Challenge:
    """A token that comes with a proof (RFC 9449), for the request as its client made it."""
    proofs = [value for name, value in asked.headers if name == PROOF]
    origin = asked.origin.rstrip("/") or origin_of(asked.audience)
    if len(proofs) != 1:
        wrong = "a token that is presented as DPoP needs exactly one DPoP header"
    elif not (asked.method and asked.target.startswith("/") and origin):
        wrong = "the proxy does not tell which request the DPoP proof has to be for"
    else:
        return Presented(token, Proof(asked.method, f"{origin}{asked.target}", proofs[0].strip(" \t")))
    return Challenge(401, "invalid_dpop_proof", wrong, metadata=metadata, scheme="DPoP")


def origin_of(audience: str) -> str:
    """Where a resource is reached, by its identifier; empty where that is no address."""
    parts = urlsplit(audience)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("https", "http") and parts.netloc else ""


def _looks_like_ours(name: str) -> bool:
    """Whether it is none of the headers that proxies see to, and might be read as one by the resource.

    Many servers take other punctuation for a hyphen, or the hyphen for an underscore (RFC 3875 section 4.1.18).
    """
    read = _PUNCTUATION.sub("-", name)
    return read != name and (read.startswith(OURS) or read in CREDENTIALS or read == PROOF)


def _invalid(description: str, metadata: str) -> Challenge:
    return Challenge(400, "invalid_request", description, metadata=metadata)


def _stopped(challenge: Challenge) -> Stopped:
    return Stopped(
        status=challenge.status,
        error=challenge.error or "unauthorized",
        description=challenge.description,
        challenge=challenge.challenge,
        retry_after="1" if challenge.status == 503 else "",
    )


def _passed(verdict: Allowed, headers: Iterable[tuple[str, str]]) -> Passed:
    scopes, actors = " ".join(sorted(verdict.scopes)), " ".join(verdict.actors)
    values = (verdict.sub, verdict.client_id, scopes, str(verdict.position), actors)
    told = {name: value for name, value in zip(IDENTITY, values, strict=True) if value}
    sent = (name for name, _ in headers if name.startswith(OURS))
    removed = dict.fromkeys((*CREDENTIALS, PROOF, *IDENTITY, *sent))
    return Passed(headers=told, removed=[name for name in removed if name not in told])
