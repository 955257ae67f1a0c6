"""DPoP proofs (RFC 9449): who presents a bound token shows with each request that they hold its key.

    Proof(method, uri, dpop)     the request, as its client made it, and the one `DPoP` header that came along
    read(proof, now)             what the proof says, if it is one for that request and that moment
    Proofs                       all of it, as a guard asks: of which token, and whether it was used before

A proof chooses neither what it is checked for nor what is believed of it. The key that stands in it proves nothing by
itself: it has to be the one that the token names.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from hashlib import sha256
from threading import Lock
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from stagedoor.clock import since_boot
from stagedoor.keys import ecdsa_value
from stagedoor.token import Said, base64url_bytes, json_object
from stagedoor.verdict import Denied, Reason, denied

ALGORITHMS: Final = ("ES256", "RS256", "PS256", "EdDSA")
"""What may sign (section 4.3, check 5). Nothing symmetric: a secret would be in the proof; and never `none`."""
WINDOW: Final = 60.0
"""Seconds by which the time in a proof may differ from now (section 11.1)."""
LONGEST: Final = 8 * 1024
"""Characters of a proof that are looked at."""

_TYPE: Final = "dpop+jwt"
_LONGEST_JTI: Final = 512
_LONGEST_URI: Final = 4096
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_RSA_BITS: Final = range(2048, 4096 + 1)
_RSA_EXPONENTS: Final = range(3, 2**32)
"""Anybody may send a key of their own; checking with a longer one takes longer, up to a hundred times."""
_PORTS: Final = {"https": 443, "http": 80}
_PSS: Final = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
_PKCS1: Final = padding.PKCS1v15()
_HOST: Final = re.compile(r"[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\]")
_PATH: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
"""RFC 3986 section 3.3."""
_ESCAPE: Final = re.compile("%[0-9A-Fa-f]{2}")
_DOTS: Final = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Proof(msgspec.Struct, frozen=True):
    """What a bound token is presented with: the request as its client made it, and the proof that came with it."""

    method: str
    uri: str
    """The address that the client sees. It comes from settings, and never from what the client says it is."""
    dpop: str
    """The value of the request's one `DPoP` header."""

    def __repr__(self) -> str:
        return f"Proof({self.method!r})"


NOT_PRESENTED: Final = Proof("", "", "")
"""The token is asked about, and not presented: nothing is allowed on its strength, and so no proof is needed.

For introspection alone (RFC 9449 section 6.2), whose answer names the key for whoever asks to check.
"""


class Shown(msgspec.Struct, frozen=True):
    """What a proof says that is one for its request and its moment."""

    jkt: str
    """Thumbprint of its key (RFC 7638)."""
    jti: str
    ath: str | None
    """Of the access token that it is for."""
    until: float
    """Seconds since 1970 from which on it is too old."""
    not_before: float
    """The later one of `iat` and `nbf`, in seconds since 1970."""
    algorithm: str
    """What it is signed with."""

    def __repr__(self) -> str:
        return f"Shown({self.jkt!r})"

    @property
    def digest(self) -> bytes:
        """Stands for its `jti`, which is the client's word and may be anything."""
        return sha256(f"dpop\0{self.jkt}\0{self.jti}".encode()).digest()

    def is_for(self, token_digest: bytes) -> bool:
        """Whether it is for the access token whose SHA-256 this is (section 4.3, check 12)."""
        expected = b2a_base64(token_digest, newline=False).translate(_TO_URL_SAFE).rstrip(b"=").decode()
        return self.ath is not None and self.ath.isascii() and hmac.compare_digest(self.ath, expected)

    def is_of(self, jkt: str) -> bool:
        """Whether it is of the key with this thumbprint."""
        return jkt.isascii() and hmac.compare_digest(self.jkt, jkt)


_TO_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class _Key(NamedTuple):
    algorithm: str
    key: Any
    jkt: str


def read(proof: Proof, now: float, *, window: float = WINDOW) -> Shown | None:
    """Check a proof (section 4.3): all but that the access token is its own, and that it was not used before.

    None for anything that is not beyond doubt; raises nothing for any input. `now`: seconds since 1970.
    """
    text = proof.dpop
    parts = text.split(".") if len(text) <= LONGEST and text.isascii() else []
    if len(parts) != 3:
        return None
    header, claims, signature = _json(parts[0]), _json(parts[1]), base64url_bytes(parts[2].encode())
    if header is None or claims is None or signature is None:
        return None
    key = _key(header)
    if key is None:
        return None
    # What the claims say is compared first: it costs less than a signature, and refuses only.
    shown = _shown(claims, key, proof, now, window)
    return shown if shown is not None and _verifies(key, signature, f"{parts[0]}.{parts[1]}".encode()) else None


def same_uri(one: str, other: str) -> bool:
    """Whether two addresses are the same without query and fragment, by RFC 3986 sections 6.2.2 and 6.2.3."""
    known = normalized(one)
    return known is not None and known == normalized(other)


def normalized(uri: str) -> str | None:
    """An http or https address in the one form of all that mean the same, without query and fragment.

    None for what is none, and for a path with dot segments: clients take those out before they ask, and servers differ
    in what they make of them.
    """
    uri = re.split("[?#]", uri, maxsplit=1)[0] if len(uri) <= _LONGEST_URI else ""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return None
    host, scheme = parts.netloc, parts.scheme.lower()
    # What `urlsplit` leaves out silently (line breaks, for example) stands in none of its parts.
    if scheme not in _PORTS or f"{uri[: len(scheme)]}://{host}{parts.path}" != uri:
        return None
    host = host.lower()
    if port is not None or host.endswith(":"):
        host = host[: host.rindex(":")]
    path = _ESCAPE.sub(_unescaped, parts.path) or "/"
    if not _HOST.fullmatch(host) or not _PATH.fullmatch(path) or not path.startswith("/") or _DOTS.search(path):
        return None
    return f"{scheme}://{host}:{_PORTS[scheme] if port is None else port}{path}"


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[0][1:], 16))
    return character if character in _UNRESERVED else found[0].upper()


def _shown(claims: Mapping[str, Any], key: _Key, proof: Proof, now: float, window: float) -> Shown | None:
    jti, htm, htu, ath = (claims.get(name) for name in ("jti", "htm", "htu", "ath"))
    iat = _time(claims.get("iat"))
    if not (isinstance(jti, str) and 0 < len(jti) <= _LONGEST_JTI and isinstance(htu, str)):
        return None
    if not (ath is None or isinstance(ath, str)) or iat is None or htm != proof.method or not proof.method:
        return None
    # RFC 9449 knows neither of the two; a proof that says so itself is believed (RFC 7519 sections 4.1.4 and 4.1.5).
    exp = _time(claims["exp"]) if "exp" in claims else iat + window
    nbf = _time(claims["nbf"]) if "nbf" in claims else iat - window
    if exp is None or nbf is None or now >= exp + window or now < nbf - window:
        return None
    if not iat - window <= now < iat + window or not same_uri(htu, proof.uri):
        return None
    return Shown(key.jkt, jti, ath, iat + window, max(iat, nbf), key.algorithm)


def _time(value: object) -> float | None:
    """A NumericDate (RFC 7519 section 2)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 2**35 else None


def _json(part: str) -> dict[str, Any] | None:
    decoded = base64url_bytes(part.encode())
    try:
        return None if decoded is None else json_object(decoded)
    except (ValueError, RecursionError):
        return None


def _key(header: Mapping[str, Any]) -> _Key | None:
    """The key in a header (section 4.2); addresses of keys and certificates in it are never looked at."""
    algorithm, jwk = header.get("alg"), header.get("jwk")
    if header.get("typ") != _TYPE or algorithm not in ALGORITHMS or "crit" in header or "b64" in header:
        return None
    if not isinstance(jwk, dict) or _PRIVATE & jwk.keys():
        return None
    if jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig":
        return None
    made = _MADE[algorithm]
    try:
        return made(algorithm, jwk)
    except ValueError:
        return None


def _ec(algorithm: str, jwk: Mapping[str, Any]) -> _Key | None:
    x, y = _member(jwk, "x"), _member(jwk, "y")
    if (jwk.get("kty"), jwk.get("crv")) != ("EC", "P-256") or len(x) != 32 or len(y) != 32:
        return None
    key = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1()).public_key()
    return _Key(algorithm, key, _thumbprint(jwk, ("crv", "kty", "x", "y")))


def _rsa(algorithm: str, jwk: Mapping[str, Any]) -> _Key | None:
    n, e = _member(jwk, "n"), _member(jwk, "e")
    if jwk.get("kty") != "RSA" or not n[0] or not e[0]:  # as short as they can be (RFC 7518 section 2)
        return None
    modulus, exponent = int.from_bytes(n), int.from_bytes(e)
    if modulus.bit_length() not in _RSA_BITS or exponent not in _RSA_EXPONENTS:
        return None
    return _Key(algorithm, rsa.RSAPublicNumbers(exponent, modulus).public_key(), _thumbprint(jwk, ("e", "kty", "n")))


def _ed25519(algorithm: str, jwk: Mapping[str, Any]) -> _Key | None:
    if (jwk.get("kty"), jwk.get("crv")) != ("OKP", "Ed25519"):
        return None
    key = ed25519.Ed25519PublicKey.from_public_bytes(_member(jwk, "x"))
    return _Key(algorithm, key, _thumbprint(jwk, ("crv", "kty", "x")))


_MADE: Final = {"ES256": _ec, "RS256": _rsa, "PS256": _rsa, "EdDSA": _ed25519}
"""What a key has to be for an algorithm, whatever else it says (RFC 8725 section 3.1)."""


def _member(jwk: Mapping[str, Any], name: str) -> bytes:
    """Raises `ValueError` for what is not base64url in its one form."""
    value = jwk.get(name)
    raw = base64url_bytes(value.encode("ascii")) if isinstance(value, str) else None
    if not raw:
        raise ValueError(name)
    return raw


def _thumbprint(jwk: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """RFC 7638: over these members, in this order. Each has one form only, so a key has one thumbprint."""
    text = msgspec.json.encode({name: jwk[name] for name in names})
    return urlsafe_b64encode(sha256(text).digest()).rstrip(b"=").decode()


def _verifies(key: _Key, signature: bytes, signed: bytes) -> bool:
    try:
        match key.algorithm:
            case "ES256":
                encoded = ecdsa_value(signature)
                if encoded is None:
                    return False
                key.key.verify(encoded, signed, ec.ECDSA(SHA256()))
            case "RS256":
                key.key.verify(signature, signed, _PKCS1, SHA256())
            case "PS256":
                key.key.verify(signature, signed, _PSS, SHA256())
            case _:
                key.key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


class Used:
    """The proofs that were accepted here (section 11.1), by what stands for their `jti`: no more than so many.

    Two sets, each for twice as long as a proof may be good, so that a clock that is set back a little brings none back.
    They are of one process: what another one has accepted is not known here.
    """

    def __init__(self, *, window: float = WINDOW, most: int = 500_000, boot: Callable[[], float] = since_boot) -> None:
        """`most`: proofs in each set, at about a hundred bytes each."""
        self._life = 4 * window
        self._most = most
        self._boot = boot
        self._newer: set[bytes] = set()
        self._older: set[bytes] = set()
        self._begun = boot()
        self._lock = Lock()

    def use(self, shown: Shown) -> bool | None:
        """Accept a proof, once. False: it was used before. None: there is no room to remember it. Threads may ask."""
        key = shown.digest[:16]
        with self._lock:
            now = self._boot()
            if now - self._begun >= self._life:
                self._older = self._newer if now - self._begun < 2 * self._life else set()
                self._newer, self._begun = set(), now
            if key in self._older or key in self._newer:
                return False
            if len(self._newer) >= self._most:
                return None
            self._newer.add(key)
        return True


class Proofs:
    """What a guard asks about the proofs that tokens come with."""

    def __init__(self, window: float = WINDOW, boot: Callable[[], float] = since_boot) -> None:
        self._window = window
        self._used = Used(window=window, boot=boot)

    def check(self, said: Said, proof: Proof, token_digest: bytes, now: float) -> Shown | Denied:
        """The proof, if it is one of the key that the token is bound to, for this token, request and moment."""
        if said.cnf is None:
            return denied(Reason.PROOF_MISMATCH)
        jkt = said.cnf.get("jkt")
        # A token that is bound otherwise as well needs more than this proof (RFC 7800 section 3.1).
        if said.cnf.keys() != {"jkt"} or not isinstance(jkt, str):
            return denied(Reason.PROOF_REQUIRED)
        shown = read(proof, now, window=self._window)
        if shown is None or not shown.is_for(token_digest):
            return denied(Reason.INVALID_PROOF)
        return shown if shown.is_of(jkt) else denied(Reason.PROOF_MISMATCH)

    def use(self, shown: Shown) -> Denied | None:
        """Use a proof up; or why that cannot be."""
        used = self._used.use(shown)
        if used is None:
            return denied(Reason.TOO_MANY_PROOFS)
        return None if used else denied(Reason.INVALID_PROOF)
