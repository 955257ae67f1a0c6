"""Identifiers, secrets and digests.

Identifiers are 128 random bits, or 80 behind the time: they may appear in events, logs and addresses. Secrets are 256
random bits: they appear nowhere but in the answer that hands them out; what is kept is `digest`. A slow password hash
would add nothing to 256 random bits (guessing them is out of reach), so a plain SHA-256 serves.
"""

import hashlib
import hmac
import os
import secrets
import time
from typing import Final, NewType
from uuid import UUID

from shared.encoding import base64url

CommandId = NewType("CommandId", UUID)
"""Names one decision to write; repeating an append with the same id writes nothing twice."""


_AHEAD: Final = 4096
"""Bytes that are asked of the system at a time; each question to it is as long as making an id of the answer."""


_VERSION_4: Final = 0x4 << 76 | 0x2 << 62
"""The bits of a UUID that say that the others are random (RFC 9562 section 5.4)."""
_RANDOM_BITS: Final = ~(0xF << 76 | 0x3 << 62)
_IN_ORDER: Final = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz",
)
"""From the characters of base64url to the same ones in the order of their codes, so that texts sort as numbers do."""
_BEGIN: Final = 11 << 42
"""Added to the milliseconds: an id begins with an "A" until 2109, and never with a hyphen, which would be an option."""


class _Randomness:
    """Random bytes for identifiers and salts, which many requests need several of. Secrets are never made of it."""

    def __init__(self) -> None:
        self._bytes = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        """The next bytes; each is handed out once."""
        start = self._used
        if start + count > len(self._bytes):
            self._bytes, start = os.urandom(_AHEAD), 0
        self._used = start + count
        return self._bytes[start : self._used]

    def forget(self) -> None:
        """Begin anew: a child process must not have the bytes of its parent."""
        self._bytes, self._used = b"", 0


_randomness = _Randomness()
_ready: list[str] = []
"""Identifiers that nobody has been given yet: made many at a time, as each request needs one or two."""
os.register_at_fork(after_in_child=_randomness.forget)
os.register_at_fork(after_in_child=_ready.clear)


def random_bytes(count: int) -> bytes:
    """Random bytes that are no secret: for identifiers and salts; at most 64."""
    return _randomness.take(count)


def new_id() -> str:
    """A random identifier: 128 bits, 22 URL-safe characters."""
    try:
        return _ready.pop()
    except IndexError:
        block = os.urandom(_AHEAD)
        first, *others = [id_of(block[at : at + 16]) for at in range(0, _AHEAD, 16)]
        _ready.extend(others)
        return first


def id_of(made: bytes) -> str:
    """The identifier that 16 bytes make: 22 URL-safe characters, the first no hyphen, which would be an option."""
    text = base64url(made).decode()
    return text if text[0] != "-" else f"_{text[1:]}"


def new_ordered_id() -> str:
    """An identifier that sorts after those of earlier milliseconds: 48 bits of time, 80 random ones, 22 characters.

    For what names a row of a table that grows for ever: its index is then written at its end, as with UUIDs of version
    7 (RFC 9562 section 5.7), while random keys touch a page of their own each, and the write-ahead log is given that
    page whole. It tells when it was made, so it is for what tells its time anyway.
    """
    made = (_BEGIN + time.time_ns() // 1_000_000).to_bytes(6) + _randomness.take(10)
    return base64url(made).translate(_IN_ORDER).decode()


def new_secret() -> str:
    """A random secret: 256 bits, 43 URL-safe characters (RFC 6749 section 10.10 asks for 128 at least)."""
    return secrets.token_urlsafe(32)


def new_command_id() -> CommandId:
    """The id of a command whose caller gave none."""
    return CommandId(UUID(int=int.from_bytes(_randomness.take(16)) & _RANDOM_BITS | _VERSION_4))


def digest(secret: str) -> str:
    """SHA-256 of a generated secret, in hexadecimal: what is stored in its place."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(left: str | bytes, right: str | bytes) -> bool:
    """Compare two values in a time that does not tell where they differ."""
    left_bytes = left.encode() if isinstance(left, str) else left
    right_bytes = right.encode() if isinstance(right, str) else right
    return hmac.compare_digest(left_bytes, right_bytes)


def keyed_digest(key: bytes, purpose: str, value: str) -> bytes:
    """HMAC-SHA-256 of a name, so that the log holds names for ever without telling them."""
    return hmac.digest(key, f"{purpose}\0{value}".encode(), "sha256")
