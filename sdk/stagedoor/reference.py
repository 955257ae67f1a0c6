"""Reference tokens: long-lived keys of people (PAT) and of applications (SAT), which say nothing by themselves.

    stagedoor_pat_ or stagedoor_sat_, 43 base62 digits (256 random bits), 6 base62 digits (CRC-32 of all before)

The checksum lets a scanner, and a guard, tell a key from a text that only looks like one without asking anybody. What
a key stands for is the issuer's to say, once; what it says has the shape of an access token's claims.
"""

import string
from typing import Literal
from zlib import crc32

from stagedoor.token import AccessToken, read_said

PREFIX = b"stagedoor_"
"""Which no access token begins with."""
_KINDS: dict[bytes, Literal["pat", "sat"]] = {b"stagedoor_pat_": "pat", b"stagedoor_sat_": "sat"}
PREFIXES = tuple(_KINDS)
_PREFIX_LENGTH = 14
_BODY, _CHECKSUM = 43, 6
_LENGTH = _PREFIX_LENGTH + _BODY + _CHECKSUM
_DIGITS = (string.digits + string.ascii_uppercase + string.ascii_lowercase).encode()


def kind_of(token: bytes) -> Literal["pat", "sat"] | None:
    """Which kind of key this could be; None where it has not the form of one."""
    kind = _KINDS.get(token[:_PREFIX_LENGTH])
    if kind is None or len(token) != _LENGTH or token[_PREFIX_LENGTH:].translate(None, _DIGITS):
        return None
    return kind if token[-_CHECKSUM:] == checksum(token[:-_CHECKSUM]) else None


def checksum(text: bytes) -> bytes:
    """The CRC-32 of a key's prefix and body, in base62."""
    number, digits = crc32(text), bytearray()
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return bytes(reversed(digits))


def read(claims: str, kind: Literal["pat", "sat"], issuer: str) -> AccessToken | None:
    """What the issuer says of a key of this kind; None where that is not understood, or is of another issuer's."""
    said = read_said(claims.encode())
    if said is None or said.iss != issuer or said.reference != kind or said.sid is not None or said.gid is not None:
        return None
    if said.act is not None or said.derived_from:
        return None
    clients = (said.client_id,)
    return AccessToken(
        key=None,
        said=said,
        payload=claims.encode(),
        clients=clients,
        chain=clients,
        scopes=frozenset(said.scope.split()),
    )
