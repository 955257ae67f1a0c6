"""Signing keys, and the JWS that they make (RFC 7515, compact form)."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from services.registry.events import ResponseAlgorithm
from services.token_issuer.events import KeyUse
from shared.encoding import base64url, from_base64url
from stagedoor.keys import Algorithm, PublicKey, parse_jwk

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

FOR_APPLICATIONS: Mapping[ResponseAlgorithm, KeyUse] = {
    ResponseAlgorithm.RS256: KeyUse.ID_TOKEN,
    ResponseAlgorithm.ES256: KeyUse.ID_TOKEN_ES256,
}
"""The use of the keys that sign what applications read. None of them signs access tokens."""
ALGORITHMS: Mapping[KeyUse, Algorithm] = {
    KeyUse.ACCESS_TOKEN: Algorithm.ES256,
    **{use: Algorithm(name) for name, use in FOR_APPLICATIONS.items()},
}
"""RS256 is what every OpenID client understands (OpenID Connect Core section 15.1); ES256 is fast to sign."""

_ES256 = ec.ECDSA(SHA256())
_PKCS1 = padding.PKCS1v15()
_SHA256 = SHA256()
_RSA_BITS = 2048
LONGEST = 8 * 1024
"""Bytes of a token that is read at all."""


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A key pair of the issuer."""

    kid: str
    use: KeyUse
    public: PublicKey
    private: PrivateKey = field(repr=False)
    _heads: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Of the types that it signed: the encoded header is the same each time."""
    _raw: Callable[[bytes], bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Asked once: these classes are abstract, and asking what somebody is of them takes longer than all around it.
        private = self.private
        raw = partial(_rs256, private) if isinstance(private, rsa.RSAPrivateKey) else partial(_es256, private)
        object.__setattr__(self, "_raw", raw)

    def sign(self, typ: str, claims: Mapping[str, Any]) -> str:
        """A JWT of this type (RFC 7519)."""
        head = self._heads.get(typ)
        if head is None:
            header = {"alg": self.public.algorithm.value, "typ": typ, "kid": self.kid}
            head = self._heads[typ] = base64url(msgspec.json.encode(header)) + b"."
        signed = head + base64url(msgspec.json.encode(claims))
        return (signed + b"." + base64url(self._raw(signed))).decode()

    def private_der(self) -> bytes:
        """The private half, PKCS #8; only ever to be wrapped."""
        return self.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _rs256(private: rsa.RSAPrivateKey, signed: bytes) -> bytes:
    return private.sign(signed, _PKCS1, _SHA256)


def _es256(private: ec.EllipticCurvePrivateKey, signed: bytes) -> bytes:
    """The two numbers of the signature as RFC 7518 section 3.4 has them."""
    r, s = decode_dss_signature(private.sign(signed, _ES256))
    return r.to_bytes(32) + s.to_bytes(32)


def generate(use: KeyUse) -> tuple[SigningKey, dict[str, str]]:
    """A new key pair, and its public JWK. Its `kid` can be typed: with a hyphen in front it would be an option."""
    while True:
        if ALGORITHMS[use] is Algorithm.RS256:
            made = restored(use, rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS))
        else:
            made = restored(use, ec.generate_private_key(ec.SECP256R1()))
        if not made[0].kid.startswith("-"):
            return made


def restored(use: KeyUse, private: PrivateKey) -> tuple[SigningKey, dict[str, str]]:
    """The key pair of a private key, and its public JWK; the `kid` is its thumbprint (RFC 7638)."""
    required = _required_members(private)
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":")).encode()
    kid = base64url(hashlib.sha256(canonical).digest()).decode()
    jwk = {**required, "kid": kid, "use": "sig", "alg": ALGORITHMS[use].value}
    public = parse_jwk(jwk)
    if public is None:
        raise ValueError("the private key is of another kind than its use asks for")
    return SigningKey(kid, use, public, private), jwk


def load(use: KeyUse, der: bytes) -> SigningKey:
    """The key pair whose private half was kept. Raises `ValueError` for anything else."""
    # Unchanged since it was made here, as it comes from its seal; to look for its primes anew takes 40 ms.
    private = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("not a signing key")  # noqa: TRY004  (one kind of error for a wrong key)
    return restored(use, private)[0]


def read(token: str, find: Callable[[str], PublicKey | None], typ: str) -> dict[str, Any] | None:
    """The claims of one of the issuer's own tokens of this type; None if it is not, or was changed.

    Says nothing about time: whoever wants an unexpired token looks at `exp`.
    """
    parts = token.split(".") if len(token) <= LONGEST and token.isascii() else []
    if len(parts) != 3:
        return None
    header = _json(parts[0])
    if header is None or header.keys() != {"alg", "typ", "kid"} or header["typ"] != typ:
        return None
    key = find(header["kid"]) if isinstance(header["kid"], str) else None
    signature = from_base64url(parts[2])
    if key is None or signature is None or header["alg"] != key.algorithm.value:
        return None
    if not key.verifies(signature, f"{parts[0]}.{parts[1]}".encode()):
        return None
    return _json(parts[1])


def _json(part: str) -> dict[str, Any] | None:
    """The JSON object in a part; None for anything else, and for any text of it but the one that `sign` would write.

    So nothing in it is said twice, or in a way that another reader reads otherwise.
    """
    raw = from_base64url(part)
    if raw is None:
        return None
    try:
        value = msgspec.json.decode(raw)
        canonical = msgspec.json.encode(value) == raw
    except (ValueError, RecursionError):
        # A header is read before its signature is looked at, so it may be nested without end.
        return None
    return value if canonical and isinstance(value, dict) else None


def _required_members(private: PrivateKey) -> dict[str, str]:
    """The members that a thumbprint is made of (RFC 7638 section 3.2)."""
    if isinstance(private, rsa.RSAPrivateKey):
        numbers = private.public_key().public_numbers()
        return {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
    point = private.public_key().public_numbers()
    return {"crv": "P-256", "kty": "EC", "x": _number(point.x, 32), "y": _number(point.y, 32)}


def _number(value: int, length: int | None = None) -> str:
    return base64url(value.to_bytes(length or (value.bit_length() + 7) // 8)).decode()
