"""What is asked about passkeys: whose they are, and what they are checked with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.identity.read_model import USER_COLUMNS, Credentials, user_row
from shared.log.connections import Connections
from shared.questions import ask


@dataclass(frozen=True, slots=True)
class PasskeyRow:
    """A passkey as its owner sees it."""

    passkey_id: str
    name: str
    backup_eligible: bool
    added_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class PasskeyCredential:
    """What a passkey is checked with."""

    passkey_id: str
    credential_id: bytes
    public_key: bytes
    """COSE_Key (RFC 9052 section 7)."""
    sign_count: int
    backup_eligible: bool


class PasskeyQuestions:
    """The questions. All raise `LogUnavailable` if the database does not answer."""

    def __init__(self, pool: Connections) -> None:
        self._pool = pool

    async def of(self, sub: str) -> list[PasskeyRow]:
        """A user's passkeys, in the order in which they were added."""
        rows = await ask(
            self._pool.fetch(
                """SELECT p.passkey_id, p.name, p.backup_eligible, p.added_at, c.used_at FROM identity.passkeys p
                     LEFT JOIN identity.passkey_credentials c ON c.passkey_id = p.passkey_id AND c.sub = p.sub
                    WHERE p.sub = $1 ORDER BY p.added_at, p.passkey_id""",
                sub,
            )
        )
        return [
            PasskeyRow(row["passkey_id"], row["name"], row["backup_eligible"], row["added_at"], row["used_at"])
            for row in rows
        ]

    async def credential_ids(self, sub: str) -> Sequence[bytes]:
        """The credentials of a user's passkeys."""
        rows = await ask(
            self._pool.fetch(
                """SELECT c.credential_id FROM identity.passkey_credentials c
                     JOIN identity.passkeys p ON p.passkey_id = c.passkey_id AND p.sub = c.sub
                    WHERE c.sub = $1 ORDER BY p.added_at, p.passkey_id""",
                sub,
            )
        )
        return [row["credential_id"] for row in rows]

    async def by_credential(self, credential_id: bytes) -> tuple[Credentials, PasskeyCredential] | None:
        """Whose passkey this is, as of one moment; None if it is nobody's, or was removed.

        What the vault has beside it is not asked for: who shows a passkey is asked for nothing else.
        """
        rows = await ask(
            self._pool.fetch(
                f"""SELECT {USER_COLUMNS}, k.wrapped AS wrapped_key,
                           c.passkey_id, c.public_key, c.sign_count, own.backup_eligible
                      FROM identity.passkey_credentials c
                      JOIN identity.passkeys own ON own.passkey_id = c.passkey_id AND own.sub = c.sub
                      JOIN identity.users u ON u.sub = c.sub
                      LEFT JOIN identity.personal_keys k ON k.sub = u.sub
                     WHERE c.credential_id = $1""",  # noqa: S608  (put together from constants)
                credential_id,
            )
        )
        if len(rows) != 1:
            return None
        row = rows[0]
        known = PasskeyCredential(
            row["passkey_id"], credential_id, row["public_key"], row["sign_count"], row["backup_eligible"]
        )
        return Credentials(user_row(row), None, row["wrapped_key"]), known
