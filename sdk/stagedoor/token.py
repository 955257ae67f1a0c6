"""Reading access tokens (RFC 9068), strictly.

Whatever two careful readers could understand differently is refused: padding and foreign characters in base64url,
unused bits that are not zero, a repeated member in JSON, a header member beyond the three that are needed. The
header is not asked which algorithm or key to use; it has to say what is already known of the key that it names.
"""

import json
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Annotated, Any, Literal, NoReturn

import msgspec

from stagedoor.keys import Algorithm, KeySource, PublicKey
from stagedoor.verdict import Allowed, Denied, Reason, denied

MAXIMUM_BYTES = 8 * 1024
"""A longer token is refused unread."""
_DEEPEST_CHAIN = 8
"""Most actors that an `act` chain (RFC 8693 section 4.1) may have."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""What every reader of JSON understands alike (RFC 8259 section 6)."""
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
"""From the URL-safe alphabet to the standard one, whose own characters become such that belong to none."""
_LAST = (bytes(range(256)), b"", b"AQgw", b"AEIMQUYcgkosw048")
"""Last characters whose unused bits are zero, by how many characters there are beyond whole groups of four."""
_PADDING = (b"", b"", b"==", b"=")
"""What the standard form of base64 has at the end, by the same."""
_ALGORITHMS: dict[str, Algorithm] = {algorithm.value: algorithm for algorithm in Algorithm}
_HEADER_MEMBERS = frozenset({"alg", "typ", "kid"})
_MALFORMED = denied(Reason.MALFORMED)


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a token says, with its types. Times are whole seconds since 1970 (RFC 7519 section 2).

    The claims stand in the order in which the issuer writes them, and those that are only told on are here as well: a
    payload that is the text which these claims are written as says nothing twice, and nothing else.
    """

    iss: str
    sub: str
    aud: tuple[str, ...]
    client_id: str
    scope: str
    iat: Number
    nbf: Number = 0
    exp: Number
    jti: str
    pos: Number
    """Log position of the event that issued it."""
    epoch: Number
    """The epoch of the log that `pos` belongs to."""
    sid: str | None = None
    gid: str | None = None
    auth_time: Any = None
    acr: Any = None
    amr: Any = None
    roles: tuple[str, ...] = ()
    act: dict[str, Any] | None = None
    """Who acts, in exchange for a token that somebody else was given (RFC 8693 section 4.1)."""
    derived_from: tuple[str, ...] = ()
    """The `jti` of the token that it was exchanged for, then of those which that one came from."""
    cnf: dict[str, Any] | None = None
    """It needs a proof of possession (RFC 7800)."""
    reference: Literal["pat", "sat"] | None = None
    """Which kind of reference token it is, if any."""


class AccessToken(msgspec.Struct, kw_only=True, gc=False):
    """An access token whose signature, type and issuer have been verified; or a reference token that was looked up.

    What changes with time has not been looked at.
    """

    key: PublicKey | None
    """The key that signed it; None for a reference token, which nothing signs."""
    said: Said
    payload: bytes
    """The same, as the JSON that it was said in."""
    clients: tuple[str, ...]
    """`client_id`, then every client of the `act` chain."""
    chain: tuple[str, ...]
    """These, and the `jti`s that it is derived from: whatever of a token from an exchange others have not."""
    scopes: frozenset[str]

    # What a guard has decided about it: a warm check compares stamps and needs no object more.
    allowed: Allowed | None = None
    stamp: int = -1
    """Of the view that `allowed` was decided by; -1: by none."""
    looked_up: int = -1
    """For a reference token: how often the view had forgotten denials when the issuer was asked."""

    @property
    def sub(self) -> str:
        """Whom it acts for."""
        return self.said.sub

    @property
    def client_id(self) -> str:
        """Whom it was issued to."""
        return self.said.client_id

    @property
    def audiences(self) -> tuple[str, ...]:
        """Whom it is for."""
        return self.said.aud

    @property
    def roles(self) -> frozenset[str]:
        """The person's roles, as of when it was issued."""
        return frozenset(self.said.roles)

    @property
    def exp(self) -> int:
        """When it ends."""
        return self.said.exp

    @property
    def jti(self) -> str:
        """Its own id."""
        return self.said.jti

    @property
    def pos(self) -> int:
        """Log position of the event that issued it."""
        return self.said.pos

    @property
    def epoch(self) -> int:
        """The epoch of the log that `pos` belongs to."""
        return self.said.epoch


class _AmbiguousError(ValueError):
    """JSON that two readers could understand differently."""


_decode_said = msgspec.json.Decoder(Said).decode
_encode_said = msgspec.json.Encoder().encode

_HEADERS: dict[bytes, tuple[Algorithm | None, str]] = {}
"""Algorithm and key id, by the text of a header that a verified token had: an issuer writes one for each key."""
_MOST_HEADERS = 64
_SCOPES: dict[str, frozenset[str]] = {}
_MOST_SCOPES = 1024


def read(token: str, keys: KeySource, issuer: str) -> AccessToken | Denied:
    """Verify what never changes about a token: its form, its type, its signature and its issuer.

    Raises nothing for any input.
    """
    if len(token) > MAXIMUM_BYTES:
        return _MALFORMED
    try:
        return read_bytes(token.encode("ascii"), keys, issuer)
    except UnicodeEncodeError:
        return _MALFORMED


def read_bytes(  # noqa: C901, PLR0911, PLR0912  (one return for each way to be wrong)
    token: bytes, keys: KeySource, issuer: str
) -> AccessToken | Denied:
    """The same for a token of at most `MAXIMUM_BYTES`.

    Nothing inside the payload is looked at before the signature is verified. Beside the signature this costs little,
    and is written to: verifying one leaves the processor's caches cold, so that each step more counts twice.
    """
    # A compact JWS (RFC 7515 section 7.1).
    signed, _, signature_part = token.rpartition(b".")
    header_part, dot, payload_part = signed.partition(b".")
    if not dot:
        return _MALFORMED
    header = known_header = _HEADERS.get(header_part)
    if header is None:
        read = _header(header_part)
        if isinstance(read, Denied):
            return read
        header = read
    algorithm, kid = header
    key = keys.find(kid)
    if key is None:
        return denied(Reason.UNKNOWN_KEY if keys.loaded else Reason.TOO_STALE)
    try:
        # As `base64url_bytes` does it, twice: a call more would be a tenth of what there is to be saved.
        over = len(signature_part) & 3
        if signature_part[-1] not in _LAST[over]:
            return _MALFORMED
        signature = a2b_base64(signature_part.translate(_TO_STANDARD) + _PADDING[over], strict_mode=True)
        if algorithm is not key.algorithm or not key.verifies(signature, signed):
            return denied(Reason.BAD_SIGNATURE)
        if known_header is None:
            # Only now: strangers may write as many headers as they like.
            if len(_HEADERS) >= _MOST_HEADERS:
                _HEADERS.clear()
            _HEADERS[header_part] = header
        over = len(payload_part) & 3
        if payload_part[-1] not in _LAST[over]:
            return _MALFORMED
        payload = a2b_base64(payload_part.translate(_TO_STANDARD) + _PADDING[over], strict_mode=True)
    except (Base64Error, IndexError):
        return _MALFORMED
    said = read_said(payload)
    if said is None or said.reference is not None:
        return _MALFORMED
    if said.iss != issuer:
        return denied(Reason.WRONG_ISSUER)
    scopes = _SCOPES.get(said.scope) or scopes_of(said.scope)
    if said.act is None and not said.derived_from:
        clients = chain = (said.client_id,)
        return AccessToken(key=key, said=said, payload=payload, clients=clients, chain=chain, scopes=scopes)
    exchanged = _clients(said.client_id, said.act)
    if exchanged is None or not _derived(said.derived_from):
        return _MALFORMED
    whole = (*exchanged, *said.derived_from)
    return AccessToken(key=key, said=said, payload=payload, clients=exchanged, chain=whole, scopes=scopes)


def read_said(payload: bytes) -> Said | None:
    """The claims of a payload; None where they are not such as a token has to have, or are said ambiguously."""
    try:
        said = _decode_said(payload)
        if _encode_said(said) != payload:
            json_object(payload)
    except (ValueError, RecursionError):
        return None
    return said if said.sub and said.client_id and said.jti and said.pos and said.epoch else None


def scopes_of(scope: str) -> frozenset[str]:
    """The scopes that the claim `scope` lists (RFC 6749 section 3.3). Few lists stand in many tokens: each is kept."""
    found = _SCOPES.get(scope)
    if found is None:
        if len(_SCOPES) >= _MOST_SCOPES:
            _SCOPES.clear()
        found = _SCOPES[scope] = frozenset(scope.split())
    return found


def _header(part: bytes) -> tuple[Algorithm | None, str] | Denied:
    """Algorithm and key id that a header names; None for an algorithm that is none of access tokens."""
    decoded = base64url_bytes(part)
    try:
        header = None if decoded is None else json_object(decoded)
    except (ValueError, RecursionError):
        header = None
    if header is None:
        return _MALFORMED
    if header.get("typ") != "at+jwt":
        return denied(Reason.WRONG_TYPE)
    algorithm, kid = header.get("alg"), header.get("kid")
    # `crit`, `jku`, `jwk`, `x5u` and their like are not part of these tokens; a member more is somebody's trick.
    if header.keys() != _HEADER_MEMBERS or not isinstance(kid, str):
        return _MALFORMED
    return (_ALGORITHMS.get(algorithm) if isinstance(algorithm, str) else None), kid


def _derived(jtis: tuple[str, ...]) -> bool:
    """Whether it is said which tokens one with actors comes from: by a denial of any of these it is denied."""
    return 0 < len(jtis) <= _DEEPEST_CHAIN and all(jtis)


def _clients(client_id: str, actor: dict[str, Any] | None) -> tuple[str, ...] | None:
    """The token's client and those of its `act` chain; None where one of them does not say who it is, or nobody acts.

    Who acts now is whom the token was issued to: the first of the chain says so again.
    """
    if actor is None or actor.get("client_id") != client_id:
        return None
    clients = [client_id]
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


def base64url_bytes(part: bytes) -> bytes | None:
    """base64url without padding (RFC 7515 section 2), in its one canonical form; None for anything else."""
    over = len(part) & 3
    # What the last character says beyond whole bytes has to be zero, or several texts would mean the same.
    if not part or part[-1] not in _LAST[over]:
        return None
    try:
        return a2b_base64(part.translate(_TO_STANDARD) + _PADDING[over], strict_mode=True)
    except Base64Error:
        return None


def json_object(decoded: bytes) -> dict[str, Any]:
    """The JSON object that this is.

    Raises `ValueError` or `RecursionError` for anything that is none, lone surrogates and repeated members included.
    """
    value = msgspec.json.decode(decoded)
    if msgspec.json.encode(value) != decoded:
        # Not the one text which its value is written as, so it might say something twice.
        value = json.loads(decoded.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    if not isinstance(value, dict):
        raise _AmbiguousError("no object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _AmbiguousError("a member is repeated")
    return members


def _no_constant(name: str) -> NoReturn:
    raise _AmbiguousError(f"{name} is not JSON")
