"""Private signing keys at rest: only ever wrapped (AES-256-GCM), under a key derived from the master key.

The master key is not in the database, so whoever reads that, or a back-up of it, has no signing key.
"""

from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.token_issuer.events import KeyUse
from services.token_issuer.signing import SigningKey, load
from services.token_issuer.signing_key_tables import KeptKey
from shared.keys import MasterKey

_NONCE = 12


class Wrapping:
    """Wraps and unwraps private halves."""

    def __init__(self, master: MasterKey) -> None:
        self._aead = AESGCM(master.derive("signing-keys"))

    def wrap(self, key: SigningKey) -> bytes:
        """The private half as it is kept; it opens under its own `kid` only."""
        nonce = urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, key.private_der(), key.kid.encode())

    def unwrap(self, kept: KeptKey) -> SigningKey:
        """The key pair. Ends the process if the private half is missing, or was wrapped under another master key."""
        if kept.wrapped is None:
            raise SystemExit(f"stagedoor: the private half of signing key {kept.kid} is not in the vault")
        try:
            der = self._aead.decrypt(kept.wrapped[:_NONCE], kept.wrapped[_NONCE:], kept.kid.encode())
            key = load(KeyUse(kept.use), der)
        except (InvalidTag, ValueError):
            raise SystemExit(
                f"stagedoor: signing key {kept.kid} does not open: is this the master key it was wrapped under?"
            ) from None
        if key.kid != kept.kid:
            raise SystemExit(f"stagedoor: signing key {kept.kid} is not the one that it says it is")
        return key
