"""What an application signed with a key of its own (RFC 7515, compact): read strictly, and believed by nobody yet."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Final

from shared.encoding import from_base64url, strict_json

ALGORITHMS: Final = ("ES256", "RS256", "PS256", "EdDSA")
"""What may sign. Nothing symmetric: whoever checks could make it, too; and never `none`."""
MOST_AHEAD: Final = timedelta(hours=1)
"""How far ahead it may expire."""
SKEW: Final = timedelta(seconds=60)
"""By how much the application's clock may be wrong."""

_LATEST: Final = 2**35
"""Seconds since 1970 that are a time at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Jws:
    """A signed JSON object. Keys and addresses of keys in its header (`jwk`, `jku`, `x5c`, `x5u`) are not looked at."""

    algorithm: str
    kid: str | None
    typ: str | None
    """In lower case."""
    claims: dict[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def audiences(self) -> tuple[str, ...]:
        """`aud` (RFC 7519 section 4.1.3); none where it is not what it has to be."""
        value = self.claims.get("aud")
        values: list[Any] = value if isinstance(value, list) else [value]
        return tuple(values) if all(isinstance(one, str) for one in values) else ()

    @property
    def lifetime(self) -> tuple[datetime, datetime] | None:
        """From when (the later one of `iat` and `nbf`, or long ago) until when; None where that is not to be had."""
        begins = [_moment(self.claims[name]) for name in ("iat", "nbf") if name in self.claims]
        expires_at = _moment(self.claims.get("exp"))
        if expires_at is None or None in begins:
            return None
        return max((begin for begin in begins if begin), default=datetime.min.replace(tzinfo=UTC)), expires_at


def timely(not_before: datetime, expires_at: datetime, now: datetime) -> bool:
    """Whether it is for now, and not for a time that nobody would remember it for."""
    return not_before <= now + SKEW and now - SKEW < expires_at <= now + MOST_AHEAD + SKEW


def read_jws(text: str, longest: int) -> Jws | None:
    """What was signed; None for what is none, is longer, or asks for what is not understood (RFC 7515, 4.1.11)."""
    parts = text.split(".") if len(text) <= longest and text.isascii() else []
    if len(parts) != 3:
        return None
    header, claims, signature = _object(parts[0]), _object(parts[1]), from_base64url(parts[2])
    if header is None or claims is None or not signature:
        return None
    algorithm, kid, typ = header.get("alg"), header.get("kid"), header.get("typ")
    if algorithm not in ALGORITHMS or not (kid is None or isinstance(kid, str)):
        return None
    if "crit" in header or "b64" in header or not (typ is None or isinstance(typ, str)):
        return None
    return Jws(
        algorithm=algorithm,
        kid=kid,
        typ=None if typ is None else typ.lower(),
        claims=claims,
        signed=f"{parts[0]}.{parts[1]}".encode(),
        signature=signature,
    )


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
