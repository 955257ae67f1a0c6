"""The keys that personal data in events is written under: one for each user, made when the user is registered.

A key stands in a table of its own, wrapped under this service's master key, bound to its user. Deleting that one row
erases the person from the whole log: what is left is ciphertext, and every proof over it still holds (`erasure.py`).
"""

from collections.abc import Collection, Mapping
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.identity.read_model import Questions
from shared.keys import LENGTH, MasterKey

_VERSION = b"\x01"
"""Of the wrapped form: the mark, a nonce of 12 bytes, then AES-256-GCM of the key with the user as associated data."""


class PersonalKeyRing:
    """Makes, wraps and finds the keys of users. Keys are not remembered, so that a deleted one is gone at once."""

    def __init__(self, master: MasterKey) -> None:
        self._wrapping = AESGCM(master.derive("personal-keys"))
        self._questions: Questions | None = None

    def read_from(self, questions: Questions) -> None:
        """Where the wrapped keys are; the log, through which they are reached, is opened with this ring."""
        self._questions = questions

    def new(self, sub: str) -> tuple[bytes, bytes]:
        """A new user's key, and its wrapped form for the table."""
        key = urandom(LENGTH)
        nonce = urandom(12)
        return key, _VERSION + nonce + self._wrapping.encrypt(nonce, key, sub.encode())

    def unwrap(self, sub: str, wrapped: bytes) -> bytes:
        """The key in a row of the table. One of another user, or of another master key, is an error and not a guess."""
        if wrapped[:1] != _VERSION:
            raise ValueError("the wrapped key is of an unknown form")
        try:
            return self._wrapping.decrypt(wrapped[1:13], wrapped[13:], sub.encode())
        except InvalidTag as wrong:
            raise ValueError("the wrapped key does not open with this master key") from wrong

    async def keys(self, subs: Collection[str]) -> Mapping[str, bytes]:
        """The keys of these users; those who have been erased are missing."""
        if self._questions is None:
            raise RuntimeError("the key ring is used before it was told where the keys are")
        wrapped = await self._questions.wrapped_keys(sorted(set(subs)))
        return {sub: self.unwrap(sub, value) for sub, value in wrapped.items()}
