"""Codes that change with the time (TOTP, RFC 6238), as applications on telephones show them.

SHA-1, six digits, thirty seconds: what every such application can do. The seed is kept sealed under the master key.
"""

from base64 import b32encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from shared.ids import keyed_digest, same
from shared.keys import MasterKey
from shared.log.append import OnceKey

DIGITS = 6
STEP = timedelta(seconds=30)
_SEED_BYTES = 20
"""RFC 4226 section 4, R6: as long as the hash."""
_WINDOW = (-1, 0, 1)
"""Steps beside the present one that are taken: for the network, and a clock that is a little off (section 5.2)."""
_REMEMBERED = timedelta(days=1)
"""For how long it is known that a code was used, however far apart the clocks of this service and the log are."""
_VERSION = b"\x01"
"""Of the sealed form: the mark, a nonce of 12 bytes, then AES-256-GCM of the seed with the user as associated data."""


@dataclass(frozen=True, slots=True)
class Seed:
    """What a user's application makes codes from."""

    raw: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """As it is typed where no picture can be taken: base32, in groups of four."""
        whole = b32encode(self.raw).decode()
        return " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))

    def address(self, user_name: str, issuer: str) -> str:
        """The `otpauth` address that a picture for the application holds."""
        return self._totp().get_provisioning_uri(user_name, issuer)

    def code(self, at: datetime) -> str:
        """The code of this moment."""
        return self._totp().generate(int(at.timestamp())).decode()

    def step_of(self, code: str, at: datetime) -> int | None:
        """The number of the step that this is the code of, if it is one that counts at this moment.

        All of them are compared, each in a time that does not tell where it differs.
        """
        if len(code) != DIGITS or not code.isascii() or not code.isdigit():
            return None
        now = int(at.timestamp() // STEP.total_seconds())
        right = [step for step in (now + beside for beside in _WINDOW) if same(self.code(_begin(step)), code)]
        return right[0] if right else None

    def _totp(self) -> TOTP:
        # SHA-1 is what the applications know; as an HMAC of a random key nothing is known against it.
        return TOTP(self.raw, DIGITS, SHA1(), int(STEP.total_seconds()))  # noqa: S303


class Seeds:
    """Makes, seals and opens seeds, and knows what is used up with a code."""

    def __init__(self, master: MasterKey) -> None:
        self._sealing = AESGCM(master.derive("totp-seeds"))
        self._used = master.derive("totp-used")

    def new(self) -> Seed:
        """A random one."""
        return Seed(urandom(_SEED_BYTES))

    def seal(self, sub: str, seed: Seed) -> bytes:
        """The form that the vault keeps; it opens for this user alone."""
        nonce = urandom(12)
        return _VERSION + nonce + self._sealing.encrypt(nonce, seed.raw, sub.encode())

    def open(self, sub: str, sealed: bytes) -> Seed:
        """The seed in a row of the vault. Raises `ValueError` if it is another user's, or another master key's."""
        if sealed[:1] != _VERSION:
            raise ValueError("the sealed seed is of an unknown form")
        try:
            return Seed(self._sealing.decrypt(sealed[1:13], sealed[13:], sub.encode()))
        except InvalidTag as wrong:
            raise ValueError("the sealed seed does not open with this master key") from wrong

    def used(self, sub: str, seed: Seed, step: int) -> OnceKey:
        """What the append takes so that the code of this step is never taken again (section 5.2)."""
        about = f"{sub} {sha256(seed.raw).hexdigest()} {step}"
        return OnceKey(keyed_digest(self._used, "totp", about), _begin(step) + _REMEMBERED)


def _begin(step: int) -> datetime:
    return datetime.fromtimestamp(step * STEP.total_seconds(), UTC)
