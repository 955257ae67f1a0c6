"""The tokens: access tokens (RFC 9068) and ID tokens (OpenID Connect Core section 2).

Append first, sign after: a token states the position, the epoch and the time of the event that issued it, so it can
only be made once that event is in the log, and made again as often as is needed.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from services.token_issuer.acr import acr_of
from services.token_issuer.domain import exchange
from services.token_issuer.domain.binding import cnf
from services.token_issuer.domain.grant import Grant
from services.token_issuer.events import AccessTokenExchanged
from services.token_issuer.signing import SigningKey
from shared.encoding import base64url

ACCESS_TOKEN = "at+jwt"
ID_TOKEN = "JWT"


class Issued(Struct, frozen=True):
    """Where the event that issued a token stands."""

    epoch: int
    position: int
    recorded_at: datetime

    @property
    def iat(self) -> int:
        """Whole seconds since 1970 (RFC 7519 section 2)."""
        return int(self.recorded_at.timestamp())


class Content(Struct, frozen=True):
    """What one access token says."""

    jti: str
    sub: str
    client_id: str
    scopes: Sequence[str]
    audiences: Sequence[str]
    seconds: int
    roles: Sequence[str] = ()
    grant: Grant | None = None
    jkt: str | None = None
    """Thumbprint of the key that it is bound to (RFC 9449 section 6.1)."""
    x5t_s256: str | None = None
    """Thumbprint of the certificate that it is bound to (RFC 8705 section 3.1)."""


def access_token(key: SigningKey, issuer: str, content: Content, issued: Issued) -> str:
    """The access token of an event."""
    iat = issued.iat
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": content.sub,
        "aud": content.audiences,
        "client_id": content.client_id,
        "scope": " ".join(content.scopes),
        "iat": iat,
        "nbf": iat,
        "exp": iat + content.seconds,
        "jti": content.jti,
        "pos": issued.position,
        "epoch": issued.epoch,
    }
    if content.grant is not None:
        claims["sid"] = content.grant.sid
        claims["gid"] = content.grant.gid
        claims["auth_time"] = int(content.grant.auth_time.timestamp())
        if (acr := _acr(content.grant)) is not None:
            claims["acr"] = acr
        claims["amr"] = list(content.grant.amr)
    if content.roles:
        claims["roles"] = list(content.roles)
    if (bound := cnf(content.jkt, content.x5t_s256)) is not None:
        claims["cnf"] = bound
    return key.sign(ACCESS_TOKEN, claims)


def exchanged_token(
    key: SigningKey, issuer: str, event: AccessTokenExchanged, issued: Issued, grant: Grant | None
) -> tuple[str, int]:
    """The access token of an exchange, and how many seconds it lives.

    It says of the person's sign-in what the token before said. Nested in `act` (RFC 8693 section 4.1) is who acts, the
    last one outermost; `derived_from` names the tokens that it came from, so that it ends with each of them.
    """
    iat = issued.iat
    exp = int(exchange.ends_at(event, issued.recorded_at.replace(microsecond=0)).timestamp())
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": event.sub,
        "aud": event.audiences,
        "client_id": event.client_id,
        "scope": " ".join(event.scopes),
        "iat": iat,
        "nbf": iat,
        "exp": exp,
        "jti": event.jti,
        "pos": issued.position,
        "epoch": issued.epoch,
    }
    if event.sid is not None:
        claims["sid"] = event.sid
    if event.gid is not None:
        claims["gid"] = event.gid
    if grant is not None:
        claims["auth_time"] = int(grant.auth_time.timestamp())
        if (acr := _acr(grant)) is not None:
            claims["acr"] = acr
        claims["amr"] = list(grant.amr)
    act: dict[str, Any] = {}
    for client_id in reversed(event.actors):
        act = {"sub": client_id, "client_id": client_id, **({"act": act} if act else {})}
    claims["act"] = act
    claims["derived_from"] = event.derived_from
    return key.sign(ACCESS_TOKEN, claims), max(0, exp - iat)


def id_token(  # noqa: PLR0913  (each is one independent part of the token)
    key: SigningKey, issuer: str, grant: Grant, issued: Issued, *, beside: str, nonce: str | None
) -> str:
    """The ID token that goes beside an access token, and lives as long.

    It has claims of the protocol only; the person is at userinfo.
    """
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": grant.sub,
        "aud": grant.client_id,
        "iat": issued.iat,
        "exp": issued.iat + grant.access_token_seconds,
        "auth_time": int(grant.auth_time.timestamp()),
        "amr": list(grant.amr),
        "sid": grant.sid,
        "at_hash": at_hash(beside),
    }
    if (acr := _acr(grant)) is not None:
        claims["acr"] = acr
    if nonce is not None:
        claims["nonce"] = nonce
    return key.sign(ID_TOKEN, claims)


def _acr(grant: Grant) -> str | None:
    """What the sign-in counts as: what was demanded of it, else what it was worth."""
    return grant.acr or acr_of(grant.amr)


def at_hash(token: str) -> str:
    """The left half of the access token's SHA-256 (OpenID Connect Core section 3.1.3.6)."""
    return base64url(hashlib.sha256(token.encode()).digest()[:16]).decode()
