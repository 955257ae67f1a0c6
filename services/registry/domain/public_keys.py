"""The keys that an application signs with: which JWK Sets are believed, and which keys of them are good enough.

A set that holds anything that is not public is refused whole: whoever sends such a thing has given it away, and has to
hear of it. Members that say nothing about the key itself are not kept (`use` and `key_ops` once they are as they have
to be, certificates in any case: nobody would check them).
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from services.registry.domain.refusals import invalid
from services.registry.events import PublicJwk
from shared.encoding import from_base64url, strict_json

MOST_KEYS: Final = 10
"""Enough for a rotation; each may be tried for an assertion that names none."""
LONGEST_SET: Final = 32 * 1024
ALGORITHMS: Final[Mapping[tuple[str, str | None], frozenset[str]]] = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
    ("RSA", None): frozenset({"RS256", "PS256"}),
}
"""By kind of key (RFC 8725 section 3.1: an algorithm is never chosen by what is checked)."""
RSA_BITS: Final = range(2048, 8192 + 1)

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_KEPT: Final = frozenset(PublicJwk.model_fields)
_KID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
"""P-256 (FIPS 186-5): y² = x³ - 3x + b."""


def public_keys(text: str) -> tuple[PublicJwk, ...]:
    """The keys of a JWK Set (RFC 7517 section 5) in JSON; whether they are good enough is asked by `check_keys`."""
    if len(text) > LONGEST_SET:
        raise invalid(f"the JWKS is longer than {LONGEST_SET} characters")
    try:
        document = strict_json(text)
    except ValueError:
        raise invalid("the JWKS is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise invalid('a JWKS is like {"keys": [...]}, with one key at least')
    return tuple(_public_key(entry) for entry in entries)


def jwks_text(keys: Sequence[PublicJwk]) -> str:
    """The keys as a JWK Set; empty where there are none."""
    members = [key.model_dump(exclude_none=True) for key in keys]
    return json.dumps({"keys": members}) if members else ""


def check_keys(keys: Sequence[PublicJwk]) -> None:
    """Refuse keys of a kind or length that is not accepted, and such as cannot be told apart."""
    if len(keys) > MOST_KEYS:
        raise invalid(f"an application has {MOST_KEYS} keys at most")
    named = [key.kid for key in keys]
    if len(keys) > 1 and (None in named or len(set(named)) != len(named)):
        raise invalid("several keys need a kid each, and each another one")
    for key in keys:
        if key.kid is not None and not _KID.fullmatch(key.kid):
            raise invalid("a kid has 1 to 128 visible characters of ASCII")
        algorithms = ALGORITHMS.get((key.kty, key.crv))
        if algorithms is None:
            raise invalid("a key is of kind RSA, EC with P-256, or OKP with Ed25519")
        if key.alg is not None and key.alg not in algorithms:
            raise invalid(f"a key of this kind is for {' or '.join(sorted(algorithms))}")
        if not _well_formed(key):
            raise invalid("a key is not well-formed, or too short")


def _public_key(entry: object) -> PublicJwk:
    if not isinstance(entry, dict) or not isinstance(entry.get("kty"), str):
        raise invalid("a key in the JWKS is no JWK")
    if _PRIVATE & entry.keys() or entry["kty"] == "oct":
        raise invalid("the JWKS holds a key that is not public; nobody should use that key any more")
    if entry.get("use", "sig") != "sig" or entry.get("key_ops", ["verify"]) != ["verify"]:
        raise invalid("a key in the JWKS is not for signatures")
    members = {name: value for name, value in entry.items() if name in _KEPT}
    if not all(isinstance(value, str) for value in members.values()):
        raise invalid("a member of a key is not a string")
    return PublicJwk(**members)


def _well_formed(key: PublicJwk) -> bool:
    numbers = {name: _member(getattr(key, name)) for name in ("x", "y", "n", "e")}
    x, y, n, e = numbers["x"], numbers["y"], numbers["n"], numbers["e"]
    match key.kty:
        case "EC":
            return x is not None and y is not None and n is None and e is None and _on_p256(x, y)
        case "OKP":
            return x is not None and len(x) == 32 and y is None and n is None and e is None
        case _:
            if n is None or e is None or x is not None or y is not None:
                return False
            modulus, exponent = int.from_bytes(n), int.from_bytes(e)
            return modulus.bit_length() in RSA_BITS and modulus % 2 == 1 and exponent % 2 == 1 and 3 <= exponent < 2**32


def _on_p256(x: bytes, y: bytes) -> bool:
    if len(x) != 32 or len(y) != 32:
        return False
    at, height = int.from_bytes(x), int.from_bytes(y)
    return at < _P and height < _P and (height * height - (at**3 - 3 * at + _B)) % _P == 0


def _member(text: str | None) -> bytes | None:
    """The bytes of a member; None where it is missing, empty or not in its one form."""
    return from_base64url(text) if text else None
