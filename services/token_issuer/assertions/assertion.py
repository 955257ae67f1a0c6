"""A client assertion (RFC 7521 section 4.2, RFC 7523 section 3, OpenID Connect Core section 9): what it says, strictly.

Read first, believed last: what stands in it refuses a request before its signature is looked at, and grants nothing.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import isfinite
from typing import Any, Final

from shared.encoding import from_base64url, strict_json
from shared.log.append import OnceKey

TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS: Final = ("ES256", "RS256", "PS256", "EdDSA")
"""What may sign. Nothing symmetric: whoever checks could make it, too; and never `none`."""
LONGEST: Final = 8 * 1024
"""Characters that are looked at."""
MOST_AHEAD: Final = timedelta(hours=1)
"""How far ahead an assertion may expire: so long its `jti` has to be remembered."""
SKEW: Final = timedelta(seconds=60)
"""By how much the client's clock may be wrong."""

_TYPES: Final = frozenset({"jwt", "application/jwt", "client-authentication+jwt"})
"""Values of `typ`, in lower case, that an assertion may have; it may have none. A token of another kind is none."""
_LATEST: Final = 2**35
"""Seconds since 1970 that are a time at all."""
_LONGEST_NAME: Final = 512


@dataclass(slots=True, eq=False)
class Assertion:
    """What one assertion says, and how far it has come on its way through one request."""

    client_id: str
    algorithm: str
    kid: str | None
    audiences: tuple[str, ...]
    jti: str
    not_before: datetime
    """The later one of `iat` and `nbf`; long ago where there is neither."""
    expires_at: datetime
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    proved: bool = False
    """Its signature is the application's."""
    spent: bool = False
    """The log has it as used, by this request."""
    replayed: bool = False
    """The log had it as used before: whatever is tried again for this request, it proves nothing."""

    def timely(self, audiences: Collection[str], now: datetime) -> bool:
        """Whether it is for this issuer and for now.

        Each audience has to be the issuer's: one that is for others as well could be used by them.
        """
        ours = all(audience in audiences for audience in self.audiences)
        return ours and self.not_before <= now + SKEW and now - SKEW < self.expires_at <= now + MOST_AHEAD + SKEW

    @property
    def digest(self) -> bytes:
        """Stands for its `jti`, which is the client's word and may be anything."""
        return sha256(f"client-assertion\0{self.client_id}\0{self.jti}".encode()).digest()

    @property
    def once(self) -> OnceKey:
        """What the log remembers, so that nobody uses it again."""
        return OnceKey(self.digest, self.expires_at)


def read(text: str) -> Assertion | None:
    """What an assertion says; None for what is none."""
    parts = text.split(".") if len(text) <= LONGEST and text.isascii() else []
    if len(parts) != 3:
        return None
    header, claims, signature = _object(parts[0]), _object(parts[1]), from_base64url(parts[2])
    if header is None or claims is None or not signature:
        return None
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS or not (kid is None or isinstance(kid, str)) or not _is_type(header):
        return None
    client_id, jti, audiences = _name(claims.get("sub")), _name(claims.get("jti")), _audiences(claims.get("aud"))
    if client_id is None or claims.get("iss") != client_id or jti is None or not audiences:
        return None
    begins = [_moment(claims[name]) for name in ("iat", "nbf") if name in claims]
    expires_at = _moment(claims.get("exp"))
    if expires_at is None or None in begins:
        return None
    return Assertion(
        client_id=client_id,
        algorithm=algorithm,
        kid=kid,
        audiences=audiences,
        jti=jti,
        not_before=max((begin for begin in begins if begin is not None), default=datetime.min.replace(tzinfo=UTC)),
        expires_at=expires_at,
        signed=f"{parts[0]}.{parts[1]}".encode(),
        signature=signature,
    )


def _is_type(header: dict[str, Any]) -> bool:
    """Whether the header asks for nothing that is not understood (RFC 7515 section 4.1.11), nor names another type.

    Keys and addresses of keys in it (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
    """
    typ = header.get("typ")
    return "crit" not in header and "b64" not in header and (typ is None or str(typ).lower() in _TYPES)


def _audiences(value: object) -> tuple[str, ...]:
    values: list[Any] = value if isinstance(value, list) else [value]
    return tuple(values) if all(isinstance(one, str) for one in values) else ()


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and "\0" not in value else None


def _moment(value: object) -> datetime | None:
    """A NumericDate (RFC 7519 section 2)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return datetime.fromtimestamp(value, UTC) if 0 <= value < _LATEST else None


def _object(part: str) -> dict[str, Any] | None:
    """The JSON object in a part; None for anything else, and for one that says something twice."""
    raw = from_base64url(part)
    if raw is None:
        return None
    try:
        value = strict_json(raw.decode())
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError, OverflowError):
        return None
    return value if isinstance(value, dict) else None
