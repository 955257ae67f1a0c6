"""Client secrets: made here, shown once, kept nowhere.

A secret is derived from the registry's master key and the id of the command that asked for it. The answer that
shows a secret can be lost on its way; whoever then repeats the request with the same idempotency key is given the
same answer, from any replica, although nothing that could tell the secret was stored. A random secret would be gone
with the answer, and what is left is an application whose only secret nobody knows.

The price: who has both the master key and the log can compute secrets. The key is therefore in a file of the
registry alone, never in the database or its back-ups; and a repetition shows a secret only for `SHOWN_AGAIN`.
"""

from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import digest as hmac_digest

from services.registry.domain.application import NewSecret
from shared.ids import CommandId, digest, id_of
from shared.keys import MasterKey

PREFIX = "sds_"
"""So that a secret that leaked is found by those who scan for such."""

SHOWN_AGAIN = timedelta(minutes=10)
"""How long a repeated request is answered with the secret; long enough for any retry that follows a lost answer."""


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A secret in the clear: it goes into one answer, and nowhere else."""

    secret_id: str
    text: str = field(repr=False)

    def new(self, expires_at: datetime | None = None) -> NewSecret:
        """What a command is told of it: the digest, which is stored in its place."""
        return NewSecret(self.secret_id, digest(self.text), expires_at)


class ClientSecrets:
    """Makes the secrets of applications."""

    def __init__(self, master: MasterKey) -> None:
        self._ids = master.derive("secret-ids")
        self._secrets = master.derive("secrets")

    def of(self, command_id: CommandId, client_id: str) -> ClientSecret:
        """The one secret that this command can add to this application: 256 bits."""
        secret_id = id_of(_mac(self._ids, str(command_id), client_id)[:16])
        text = urlsafe_b64encode(_mac(self._secrets, str(command_id), client_id, secret_id)).rstrip(b"=").decode()
        return ClientSecret(secret_id, PREFIX + text)


def shown_again(added_at: datetime, now: datetime) -> bool:
    """Whether a repeated request may still be answered with the secret."""
    return now - added_at <= SHOWN_AGAIN


def _mac(key: bytes, *parts: str) -> bytes:
    return hmac_digest(key, "\0".join(parts).encode(), "sha256")
