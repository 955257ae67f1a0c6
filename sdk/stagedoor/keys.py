"""The issuer's public keys, by `kid`.

A key is used with one algorithm only, the one that it was published for: the header of a token never chooses.
"""

import asyncio
import logging
import re
import ssl
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

_log = logging.getLogger("stagedoor.keys")

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_JWKS_BYTES = 256 * 1024
_TIMEOUT = 5.0
_KEPT = 300.0
"""Seconds for which keys are kept whose server does not say."""
_LONGEST_KEPT = 3600.0
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age=\"?([0-9]{1,9})\b", re.IGNORECASE)
_MINIMUM_RSA_BITS = 2048
_ES256_OF_A_DIGEST = ec.ECDSA(Prehashed(SHA256()))
_PKCS1 = padding.PKCS1v15()
_SHA256 = SHA256()
_FRAMES = (
    (b"\x30\x44\x02\x20", b"\x02\x20"),
    (b"\x30\x45\x02\x20", b"\x02\x21\0"),
    (b"\x30\x45\x02\x21\0", b"\x02\x20"),
    (b"\x30\x46\x02\x21\0", b"\x02\x21\0"),
)
"""What DER has before R and before S of 32 bytes each, by whether the first bit of R is set, then that of S."""


class Algorithm(StrEnum):
    """The signature algorithms of access tokens (RFC 7518 section 3.1). There is no `none`, and nothing symmetric."""

    ES256 = "ES256"
    RS256 = "RS256"


_ES256, _RS256 = Algorithm.ES256, Algorithm.RS256


@dataclass(frozen=True, slots=True, eq=False)
class PublicKey:
    """A public key of the issuer. Raises `ValueError` for a key of another kind than the algorithm needs."""

    kid: str
    algorithm: Algorithm
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey

    def __post_init__(self) -> None:
        if not isinstance(self.key, ec.EllipticCurvePublicKey if self.algorithm is _ES256 else rsa.RSAPublicKey):
            raise ValueError(f"a key of this kind does not sign with {self.algorithm}")  # noqa: TRY004  (a wrong pair)

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Whether `signature` is this key's, over these bytes (RFC 7515 section 5.2)."""
        try:
            if self.algorithm is _RS256:
                self.key.verify(signature, signed, _PKCS1, _SHA256)  # type: ignore[call-arg,arg-type]  # an RSA key
                return True
            encoded = ecdsa_value(signature)
            if encoded is None:
                return False
            # The digest is taken by the standard library, which costs less than having it taken on the way.
            self.key.verify(encoded, sha256(signed).digest(), _ES256_OF_A_DIGEST)  # type: ignore[call-arg,arg-type]
        except InvalidSignature:
            return False
        return True


def ecdsa_value(signature: bytes) -> bytes | None:
    """The `ECDSA-Sig-Value` (RFC 3279 section 2.2.3) of R and S, 32 bytes each (RFC 7518 section 3.4), in DER.

    None for another length, and where one of the two is zero, which no signature has.
    """
    if len(signature) != 64:
        return None
    r, s = signature[:32], signature[32:]
    # DER has integers signed and as short as they can be: a first bit that is set needs a zero byte before it. Of 256
    # signatures 254 have no zero byte at the beginning of either.
    if r[0] and s[0]:
        before_r, before_s = _FRAMES[(r[0] >> 7) * 2 + (s[0] >> 7)]
        return before_r + r + before_s + s
    r, s = r.lstrip(b"\0"), s.lstrip(b"\0")
    if not r or not s:
        return None
    if r[0] & 0x80:
        r = b"\0" + r
    if s[0] & 0x80:
        s = b"\0" + s
    return b"\x30%c\x02%c%b\x02%c%b" % (len(r) + len(s) + 4, len(r), r, len(s), s)


class KeySource(Protocol):
    """Where a `Guard` finds keys.

    `find` is asked at every check and answers the same object for as long as the key is the same: a token whose
    key is no longer found is no longer accepted.
    """

    @property
    def loaded(self) -> bool:
        """Whether the keys are known at all, so that a missing one means something."""

    @property
    def lifetime(self) -> float:
        """Seconds after which they have to be learned of anew, at the latest."""

    def find(self, kid: str, /) -> PublicKey | None:
        """The key of this id, from what is known now."""

    async def refresh(self, *, told: bool = False) -> None:
        """Learn of new keys; called when one is unknown, and now and then. Limits its own rate; raises nothing.

        `told`: because the feed told of one.
        """


class StaticKeys:
    """Keys that are given, not fetched."""

    loaded = True
    lifetime = float("inf")

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self.find: Callable[[str], PublicKey | None] = {key.kid: key for key in keys}.get
        """The key of this id."""

    async def refresh(self, *, told: bool = False) -> None:
        """Nothing to learn."""


class HttpKeys:
    """The keys of a JWKS document (RFC 7517), fetched over HTTP.

    Plain http is accepted for loopback hosts only. Redirects are not followed, and no proxy is used for loopback.
    A document that cannot be fetched or read leaves the known keys as they are.
    """

    def __init__(self, jwks_uri: str, *, minimum_seconds: float = 10.0, ca_file: str | Path | None = None) -> None:
        """`minimum_seconds`: the least time between two fetches, however many unknown keys are asked for.

        It is less where the server says that the document is kept for less (`Cache-Control: max-age`, RFC 9111): an
        issuer announces a key for so long before it uses it. `ca_file`: authorities (PEM) of the server's certificate,
        in the place of those that this machine knows; `OSError` where they cannot be read.
        """
        parts = urlsplit(jwks_uri)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError("a JWKS is fetched over https; http is for loopback only")
        handlers: list[Any] = [_NoRedirects]
        if parts.scheme == "https":
            handlers.append(HTTPSHandler(context=ssl.create_default_context(cafile=ca_file)))
        if parts.hostname in _LOOPBACK:
            handlers.append(ProxyHandler({}))
        self._opener = build_opener(*handlers)
        self._uri = jwks_uri
        self._minimum = minimum_seconds
        self._keys: dict[str, tuple[PublicKey, dict[str, Any]]] = {}
        nothing: dict[str, PublicKey] = {}
        self.find: Callable[[str], PublicKey | None] = nothing.get
        """The key of this id, as of the last fetch."""
        self._fetched_at = -minimum_seconds
        self._fetching = asyncio.Lock()
        self.loaded = False
        self.lifetime = _KEPT
        """Seconds: as the server says, at most an hour."""

    async def refresh(self, *, told: bool = False) -> None:
        """Fetch the document, unless that was done less than `minimum_seconds` ago. Callers at once share a fetch."""
        async with self._fetching:
            now = time.monotonic()
            # Strangers can name unknown keys as often as they like. Where it is the feed that names one, and until a
            # first document has come, waiting is for the server's sake only: 1 s is enough.
            if now - self._fetched_at < min(self._minimum, self.lifetime if self.loaded and not told else 1.0):
                return
            self._fetched_at = now
            try:
                document, lifetime = await asyncio.to_thread(self._fetch)
                published = parse_jwks(document)
            except (OSError, URLError, HTTPException, ValueError) as failure:
                _log.warning("the issuer's keys cannot be fetched: %s", failure)
                return
            known = self._keys
            self._keys = {
                kid: known[kid] if kid in known and known[kid][1] == jwk else (key, jwk)
                for kid, (key, jwk) in published.items()
            }
            find: Callable[[str], PublicKey | None] = {kid: key for kid, (key, _) in self._keys.items()}.get
            self.find = find
            self.loaded, self.lifetime = True, lifetime

    def _fetch(self) -> tuple[bytes, float]:
        """The document, and for how many seconds it may be kept."""
        request = Request(self._uri, headers={"Accept": "application/jwk-set+json, application/json"})  # noqa: S310  (the scheme was checked)
        with self._opener.open(request, timeout=_TIMEOUT) as response:
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            body: bytes = response.read(_JWKS_BYTES + 1)
            lifetime = _lifetime(response.headers)
        if len(body) > _JWKS_BYTES:
            raise ValueError("the document is too large")
        return body, lifetime


class _NoRedirects(HTTPRedirectHandler):
    """Keys come from the address that was configured, and from nowhere that it points to."""

    def redirect_request(  # noqa: PLR0913, PLR0917  (the base class's signature)
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow none; the redirect is then an error status."""


def _lifetime(headers: HTTPMessage) -> float:
    """For how many seconds an answer may be kept (RFC 9111 sections 4.2.1 and 5.1): whole ones, at least one."""
    found = _MAX_AGE.search(headers.get("Cache-Control", ""))
    if found is None:
        return _KEPT
    age = headers.get("Age", "0")
    spent = int(age) if age.isascii() and age.isdigit() else 0
    return min(max(1.0, float(int(found.group(1)) - spent)), _LONGEST_KEPT)


def parse_jwks(document: bytes) -> dict[str, tuple[PublicKey, dict[str, Any]]]:
    """The usable signature keys of a JWK set by `kid`, each with its JWK.

    Keys of other kinds and for other uses are left out. Raises `ValueError` for a document that is no JWK set,
    holds a `kid` twice, or a private or symmetric key: whoever publishes such a thing is not to be trusted further.
    """
    try:
        entries = msgspec.json.decode(document)["keys"]
    except (msgspec.DecodeError, KeyError, TypeError) as wrong:
        raise ValueError("not a JWK set") from wrong
    if not isinstance(entries, list):
        raise ValueError("not a JWK set")  # noqa: TRY004  (one kind of error for a wrong document)
    found: dict[str, tuple[PublicKey, dict[str, Any]]] = {}
    for jwk in entries:
        if not isinstance(jwk, dict):
            raise ValueError("not a JWK set")  # noqa: TRY004  (as above)
        if "d" in jwk or "k" in jwk:
            raise ValueError("the JWK set holds a key that is not public")
        key = parse_jwk(jwk)
        if key is None:
            continue
        if key.kid in found:
            raise ValueError("the JWK set holds a key id twice")
        found[key.kid] = (key, jwk)
    return found


def parse_jwk(jwk: Mapping[str, Any]) -> PublicKey | None:
    """A public key (RFC 7517, RFC 7518 section 6); None where it is not one that signs access tokens."""
    kid, use = jwk.get("kid"), jwk.get("use", "sig")
    if not isinstance(kid, str) or not kid or use != "sig":
        return None
    kind = (jwk.get("kty"), jwk.get("alg"))
    if kind == ("EC", Algorithm.ES256) and jwk.get("crv") == "P-256":
        point = ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), ec.SECP256R1())
        return PublicKey(kid, Algorithm.ES256, point.public_key())
    if kind == ("RSA", Algorithm.RS256):
        key = rsa.RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n")).public_key()
        if key.key_size < _MINIMUM_RSA_BITS:
            return None
        return PublicKey(kid, Algorithm.RS256, key)
    return None


def _number(jwk: Mapping[str, Any], member: str) -> int:
    text = jwk.get(member)
    if not isinstance(text, str) or not text:
        raise ValueError(f"a key in the JWK set has no {member}")
    return int.from_bytes(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
