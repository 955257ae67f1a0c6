"""Keys derived from a service's one master key, each for one purpose (HKDF, RFC 5869)."""

from base64 import b64decode
from binascii import Error
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.settings import read_secret

LENGTH = 32
"""Bytes of the master key and of every key derived from it."""


class MasterKey:
    """The root of a service's keys. It stays in memory and in its file; it is never in the database."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != LENGTH:
            raise ValueError(f"a master key has {LENGTH} bytes, not {len(raw)}")
        self._raw = raw

    @classmethod
    def read(cls, path: Path | None) -> "MasterKey":
        """Read it from its file (base64)."""
        text = read_secret(path, "the master key")
        try:
            return cls(b64decode(text, validate=True))
        except (Error, ValueError):
            raise SystemExit(f"stagedoor: {path} does not hold a master key (32 bytes, base64)") from None

    def derive(self, purpose: str) -> bytes:
        """The 32-byte key for one purpose; another purpose gives an unrelated key."""
        return HKDF(SHA256(), LENGTH, salt=None, info=b"stagedoor/" + purpose.encode()).derive(self._raw)
