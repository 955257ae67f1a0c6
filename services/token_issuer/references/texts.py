"""The texts of reference tokens.

    stagedoor_pat_<body><check>    acts as a user
    stagedoor_sat_<body><check>    acts as an application's service account

The body is 256 random bits as 43 base62 characters, the check the CRC-32 of prefix and body as 6. So a scanner finds
one that leaked by its prefix, and tells it from what only looks like one without asking anybody. The check keeps no
secret: whoever guesses can compute it.
"""

import re
import secrets
import zlib

from services.token_issuer.events import ReferenceKind

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY = 43
_CHECK = 6
_PREFIXES = {f"stagedoor_{kind.value}_": kind for kind in ReferenceKind}
_LONGEST_PREFIX = max(map(len, _PREFIXES))
_REFERENCE = re.compile(rf"(stagedoor_[a-z]{{3}}_)([0-9A-Za-z]{{{_BODY}}})([0-9A-Za-z]{{{_CHECK}}})")


def new_reference(kind: ReferenceKind) -> str:
    """A fresh reference token. It is shown once and kept nowhere."""
    return text_of(kind, secrets.randbits(256))


def text_of(kind: ReferenceKind, number: int) -> str:
    """The token of a number of 256 bits."""
    if not 0 <= number < 1 << 256:
        raise ValueError("the body of a reference token has 256 bits")
    text = f"stagedoor_{kind.value}_{_base62(number, _BODY)}"
    return text + _check(text)


def looks_like_reference(text: str) -> bool:
    """Whether it begins like a reference token, so that it is judged as one, and never as anything else."""
    return text[:_LONGEST_PREFIX] in _PREFIXES


def kind_of(text: str) -> ReferenceKind | None:
    """The kind of a well-formed reference token; None where the text is none, or its check is wrong."""
    found = _REFERENCE.fullmatch(text)
    if found is None or found.group(1) not in _PREFIXES:
        return None
    signed, check = text[:-_CHECK], found.group(3)
    return _PREFIXES[found.group(1)] if check == _check(signed) else None


def _check(text: str) -> str:
    return _base62(zlib.crc32(text.encode("ascii")), _CHECK)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
