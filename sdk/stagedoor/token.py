"""Reading access tokens (RFC 9068), strictly.

Whatever two careful readers could understand differently is refused: padding and foreign characters in base64url,
unused bits that are not zero, a repeated member in JSON, a header member beyond the three that are needed. The
header is not asked which algorithm or key to use; it has to say what is already known of the key that it names.
"""

import json
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, NoReturn

import msgspec

from stagedoor.keys import KeySource, PublicKey
from stagedoor.verdict import Denied, Reason, denied

MAXIMUM_BYTES = 8 * 1024
"""A longer token is refused unread."""
_DEEPEST_CHAIN = 8
"""Most actors that an `act` chain (RFC 8693 section 4.1) may have."""

_Number = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""What every reader of JSON understands alike (RFC 8259 section 6)."""
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
"""From the URL-safe alphabet to the standard one, whose own characters become such that belong to none."""
_LAST = {2: b"AQgw", 3: b"AEIMQUYcgkosw048"}
"""Last characters whose unused bits are zero, by how many characters there are beyond whole groups of four."""
_HEADER_MEMBERS = frozenset({"alg", "typ", "kid"})
_MALFORMED = denied(Reason.MALFORMED)


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """An access token whose signature, type and issuer have been verified. What changes with time has not been."""

    key: PublicKey
    """The key that signed it."""
    sub: str
    client_id: str
    clients: tuple[str, ...]
    """`client_id`, then every client of the `act` chain."""
    jti: str
    gid: str | None
    sid: str | None
    audiences: frozenset[str]
    scopes: frozenset[str]
    roles: frozenset[str]
    exp: int
    nbf: int
    pos: int
    """Log position of the event that issued it."""
    epoch: int
    """The epoch of the log that `pos` belongs to."""
    bound: bool
    """It needs a proof of possession (`cnf`, RFC 7800)."""
    claims: Mapping[str, Any]


class _Claims(msgspec.Struct, frozen=True):
    """The claims that are read, with their types. Times are whole seconds since 1970 (RFC 7519 section 2)."""

    iss: str
    sub: str
    aud: tuple[str, ...]
    client_id: str
    scope: str
    iat: _Number
    exp: _Number
    jti: str
    pos: _Number
    epoch: _Number
    nbf: _Number = 0
    gid: str | None = None
    sid: str | None = None
    roles: tuple[str, ...] = ()
    act: dict[str, Any] | None = None
    cnf: dict[str, Any] | None = None


class _AmbiguousError(ValueError):
    """JSON that two readers could understand differently."""


def read(  # noqa: PLR0911  (one return for each way to be wrong)
    token: str | bytes, keys: KeySource, issuer: str
) -> AccessToken | Denied:
    """Verify what never changes about a token: its form, its type, its signature and its issuer.

    Nothing inside the payload is looked at before the signature is verified. Raises nothing for any input.
    """
    parts = _split(token)
    if parts is None:
        return _MALFORMED
    signed, header_part, payload_part, signature_part = parts
    header = _json(header_part)
    if header is None:
        return _MALFORMED
    kid = header.get("kid")
    if header.get("typ") != "at+jwt":
        return denied(Reason.WRONG_TYPE)
    # `crit`, `jku`, `jwk`, `x5u` and their like are not part of these tokens; a member more is somebody's trick.
    if header.keys() != _HEADER_MEMBERS or not isinstance(kid, str):
        return _MALFORMED
    key = keys.find(kid)
    if key is None:
        return denied(Reason.UNKNOWN_KEY if keys.loaded else Reason.TOO_STALE)
    signature = _decode(signature_part)
    if signature is None:
        return _MALFORMED
    if header["alg"] != key.algorithm or not key.verifies(signature, signed):
        return denied(Reason.BAD_SIGNATURE)
    payload = _json(payload_part)
    if payload is None:
        return _MALFORMED
    return _access_token(payload, key, issuer)


def _access_token(payload: dict[str, Any], key: PublicKey, issuer: str) -> AccessToken | Denied:
    try:
        claims = msgspec.convert(payload, _Claims)
    except msgspec.ValidationError:
        return _MALFORMED
    if claims.iss != issuer:
        return denied(Reason.WRONG_ISSUER)
    clients = _clients(claims)
    if clients is None or not (claims.sub and claims.jti and claims.pos > 0 and claims.epoch > 0):
        return _MALFORMED
    return AccessToken(
        key=key,
        sub=claims.sub,
        client_id=claims.client_id,
        clients=clients,
        jti=claims.jti,
        gid=claims.gid,
        sid=claims.sid,
        audiences=frozenset(claims.aud),
        scopes=frozenset(claims.scope.split()),
        roles=frozenset(claims.roles),
        exp=claims.exp,
        nbf=claims.nbf,
        pos=claims.pos,
        epoch=claims.epoch,
        bound=claims.cnf is not None,
        claims=MappingProxyType(payload),
    )


def _clients(claims: _Claims) -> tuple[str, ...] | None:
    """The token's client and those of its `act` chain; None where one of them does not say who it is."""
    clients, actor = [claims.client_id], claims.act
    while actor is not None:
        client = actor.get("client_id")
        following = actor.get("act")
        if not isinstance(client, str) or not (following is None or isinstance(following, dict)):
            return None
        clients.append(client)
        if len(clients) > _DEEPEST_CHAIN:
            return None
        actor = following
    return tuple(clients) if all(clients) else None


def _split(token: str | bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
    """What is signed, then header, payload and signature; None where it is no compact JWS (RFC 7515 section 7.1)."""
    if len(token) > MAXIMUM_BYTES:
        return None
    try:
        raw = token.encode("ascii") if isinstance(token, str) else token
    except UnicodeEncodeError:
        return None
    signed, dot, signature = raw.rpartition(b".")
    header, second_dot, payload = signed.partition(b".")
    if not dot or not second_dot:
        return None
    return signed, header, payload, signature


def _decode(part: bytes) -> bytes | None:
    """base64url without padding (RFC 7515 section 2), in its one canonical form; None for anything else."""
    over = len(part) % 4
    # What the last character says beyond whole bytes has to be zero, or several texts would mean the same.
    if not part or over == 1 or (over and part[-1] not in _LAST[over]):
        return None
    try:
        return a2b_base64(part.translate(_TO_STANDARD) + b"=" * (-over % 4), strict_mode=True)
    except Base64Error:
        return None


def _json(part: bytes) -> dict[str, Any] | None:
    """The JSON object in a part; None for anything else, repeated members and lone surrogates included."""
    decoded = _decode(part)
    if decoded is None:
        return None
    try:
        value = msgspec.json.decode(decoded)
        if msgspec.json.encode(value) != decoded:
            value = _read_carefully(decoded)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read_carefully(decoded: bytes) -> Any:
    """Read JSON that is not the one text which its value is written as, so that it might say something twice."""
    value = json.loads(decoded.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _AmbiguousError("a member is repeated")
    return members


def _no_constant(name: str) -> NoReturn:
    raise _AmbiguousError(f"{name} is not JSON")
