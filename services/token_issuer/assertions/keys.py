"""The keys that applications show to hold: registered ones, and those at an address of theirs."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from json import loads
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWK
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError

from services.registry.events import ApplicationSettings, PublicJwk
from services.token_issuer.assertions.jws import Jws
from shared.http.outgoing import NotSent, Outgoing
from shared.telemetry import logger

_log = logger(__name__)

KEPT: Final = 300.0
"""Seconds after which a fetched set is fetched again when it is needed."""
LONGEST_KEPT: Final = 3600.0
"""Seconds after which it is no longer believed, should that go wrong all the while."""
LEAST_BETWEEN: Final = 10.0
"""Seconds between two attempts at one address, whoever names however many unknown keys."""
LONGEST_SET: Final = 64 * 1024
_MOST_KEYS: Final = 10
_MOST_SETS: Final = 1024
_MOST_WAITING: Final = 8
"""Requests that wait for one address; those that come after them make do with what is known."""

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_KINDS: Final[Mapping[tuple[object, object], frozenset[str]]] = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
    ("RSA", None): frozenset({"RS256", "PS256"}),
}
"""What a key may be used for, whatever a header says (RFC 8725 section 3.1)."""
_RSA_BITS: Final = range(2048, 8192 + 1)
_RSA_EXPONENTS: Final = range(3, 2**32)
"""As for keys that are registered. A check with a longer one takes longer, up to a hundred times."""
_ALGORITHMS: Final = get_default_algorithms()


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """A public key of an application."""

    kid: str | None
    algorithms: frozenset[str]
    key: Any

    def fits(self, jws: Jws) -> bool:
        """Whether that could be signed with it; where it names a key, with that one only."""
        return (jws.kid is None or jws.kid == self.kid) and jws.algorithm in self.algorithms

    def verifies(self, jws: Jws) -> bool:
        """Whether the signature is this key's."""
        return bool(_ALGORITHMS[jws.algorithm].verify(jws.signed, self.key, jws.signature))


Wanted = Callable[[VerificationKey], bool]
"""Whether a key is one that is looked for."""


def verified(jws: Jws, keys: Sequence[VerificationKey]) -> bool:
    """Whether one of the keys signed it. With none to try a key of nobody is tried, so that the time tells little."""
    fitting = [key for key in keys if key.fits(jws)]
    if not fitting:
        _nobodys(jws.algorithm).verifies(jws)
        return False
    return any(key.verifies(jws) for key in fitting)


def usable(jwk: Mapping[str, Any]) -> VerificationKey | None:
    """The key of a public JWK; None where it is none that is accepted here."""
    kid, alg, kty, crv = (jwk.get(name) for name in ("kid", "alg", "kty", "crv"))
    if not all(value is None or isinstance(value, str) for value in (kid, alg, kty, crv)):
        return None
    if jwk.get("use", "sig") != "sig":
        return None
    algorithms = _KINDS.get((kty, crv))
    if algorithms is None or not (alg is None or alg in algorithms):
        return None
    chosen = algorithms if alg is None else frozenset({alg})
    try:
        key = PyJWK(dict(jwk), min(chosen)).key
    except (PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return None
    if isinstance(key, rsa.RSAPublicKey) and not (
        key.key_size in _RSA_BITS and key.public_numbers().e in _RSA_EXPONENTS
    ):
        return None
    return VerificationKey(kid, chosen, key)


def keys_of(document: bytes) -> tuple[VerificationKey, ...]:
    """The usable keys of a JWK Set (RFC 7517 section 5); keys of other kinds and for other uses are left out.

    Raises `ValueError` for what is no set, and for one that holds too many keys, or one that is not public: whoever
    publishes such a thing is not to be believed.
    """
    try:
        entries = loads(document.decode())["keys"]
    except (UnicodeDecodeError, KeyError, TypeError, RecursionError) as wrong:
        raise ValueError("not a JWK set") from wrong
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("not a JWK set")
    if len(entries) > _MOST_KEYS:
        raise ValueError(f"more than {_MOST_KEYS} keys")
    if any(_PRIVATE & entry.keys() for entry in entries):
        raise ValueError("it holds a key that is not public")
    return tuple(key for key in map(usable, entries) if key is not None)


@lru_cache(maxsize=1024)
def _registered(jwks: tuple[PublicJwk, ...]) -> tuple[VerificationKey, ...]:
    found = (usable(jwk.model_dump(exclude_none=True)) for jwk in jwks)
    return tuple(key for key in found if key is not None)


@lru_cache(maxsize=8)
def _nobodys(algorithm: str) -> VerificationKey:
    if algorithm == "ES256":
        return VerificationKey(None, frozenset(), ec.generate_private_key(ec.SECP256R1()).public_key())
    if algorithm == "EdDSA":
        return VerificationKey(None, frozenset(), ed25519.Ed25519PrivateKey.generate().public_key())
    # A number that nobody made of two primes serves as well, and at once.
    return VerificationKey(None, frozenset(), rsa.RSAPublicNumbers(65537, (1 << 2047) | 1).public_key())


@dataclass(slots=True)
class _Fetched:
    """What is known of one address."""

    keys: tuple[VerificationKey, ...] = ()
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")
    waiting: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class ClientKeys:
    """Finds the keys of applications."""

    def __init__(
        self, outgoing: Outgoing | None = None, *, demo: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Without `outgoing` nothing is fetched. `demo`: plain http is good enough."""
        self._outgoing = outgoing
        self._schemes = ("https://", "http://") if demo else ("https://",)
        self._clock = clock
        self._sets: OrderedDict[str, _Fetched] = OrderedDict()

    async def of(self, settings: ApplicationSettings, wanted: Wanted) -> tuple[VerificationKey, ...]:
        """The keys that an application has; fetched anew where none is `wanted`. Raises nothing."""
        if settings.jwks_uri is None:
            return _registered(settings.jwks)
        if self._outgoing is None or not settings.jwks_uri.startswith(self._schemes):
            return ()
        return await self._at(settings.jwks_uri, wanted, self._outgoing)

    async def _at(self, uri: str, wanted: Wanted, outgoing: Outgoing) -> tuple[VerificationKey, ...]:
        known = self._of(uri)
        if self._serves(known, wanted, KEPT):
            return known.keys
        if known.lock.locked() and (self._serves(known, wanted, LONGEST_KEPT) or known.waiting >= _MOST_WAITING):
            return self._believed(known)
        known.waiting += 1
        try:
            async with known.lock:
                if not self._serves(known, wanted, KEPT):
                    await self._fetch(uri, known, outgoing)
        finally:
            known.waiting -= 1
        return self._believed(known)

    async def _fetch(self, uri: str, known: _Fetched, outgoing: Outgoing) -> None:
        """Fetch the set, unless that was tried a moment ago. A set that cannot be had leaves what is known as it is."""
        now = self._clock()
        if now - known.tried_at < LEAST_BETWEEN:
            return
        known.tried_at = now
        try:
            known.keys = keys_of(await outgoing.get(uri, LONGEST_SET))
        except NotSent as failure:
            _log.warning("client_keys_unreachable", uri=uri, error=failure.code)
        except ValueError as wrong:
            _log.warning("client_keys_unusable", uri=uri, error=str(wrong))
        else:
            known.fetched_at = now

    def _of(self, uri: str) -> _Fetched:
        known = self._sets.get(uri)
        if known is None:
            known = self._sets[uri] = _Fetched()
            if len(self._sets) > _MOST_SETS:
                self._sets.popitem(last=False)
        else:
            self._sets.move_to_end(uri)
        return known

    def _serves(self, known: _Fetched, wanted: Wanted, seconds: float) -> bool:
        young = self._clock() - known.fetched_at < seconds
        return young and any(map(wanted, known.keys))

    def _believed(self, known: _Fetched) -> tuple[VerificationKey, ...]:
        return known.keys if self._clock() - known.fetched_at < LONGEST_KEPT else ()
