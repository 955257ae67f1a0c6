"""Identifiers, secrets and digests.

Identifiers are 128 random bits: they may appear in events, logs and addresses. Secrets are 256 random bits:
they appear nowhere but in the answer that hands them out; what is kept is `digest`. A slow password hash would
add nothing to 256 random bits (guessing them is out of reach), so a plain SHA-256 serves.
"""

import hashlib
import hmac
import secrets
from typing import NewType
from uuid import UUID, uuid4

CommandId = NewType("CommandId", UUID)
"""Names one decision to write; repeating an append with the same id writes nothing twice."""


def new_id() -> str:
    """A random identifier: 128 bits, 22 URL-safe characters."""
    return secrets.token_urlsafe(16)


def new_secret() -> str:
    """A random secret: 256 bits, 43 URL-safe characters (RFC 6749 section 10.10 asks for 128 at least)."""
    return secrets.token_urlsafe(32)


def new_command_id() -> CommandId:
    """The id of a command whose caller gave none."""
    return CommandId(uuid4())


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
