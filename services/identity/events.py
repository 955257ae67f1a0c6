"""The facts of the identity service. Stored names are permanent; a changed meaning is a new name."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.denials import Denial, DenialKind, DenialRule, subject_client_id
from shared.log.event import Event, Personal, Retention


class UserKind(StrEnum):
    """Which kind of user."""

    INTERNAL = "internal"
    COMMUNITY = "community"
    SERVICE = "service"
    """Acts for an application; never signs in."""


class Role(StrEnum):
    """What a user may do to the instance itself."""

    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"


class Profile(BaseModel):
    """Attributes of a person (OpenID Connect Core section 5.1), all of them personal."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    given_name: Personal[str] | None = None
    family_name: Personal[str] | None = None
    display_name: Personal[str] | None = None
    email: Personal[str] | None = None
    email_verified: bool = False
    locale: Personal[str] | None = None
    zoneinfo: Personal[str] | None = None
    phone_number: Personal[str] | None = None
    phone_number_verified: bool = False
    street_address: Personal[str] | None = None
    """This and the next four are the postal address (section 5.1.1)."""
    locality: Personal[str] | None = None
    region: Personal[str] | None = None
    postal_code: Personal[str] | None = None
    country: Personal[str] | None = None


class _OfUser(Event):
    """An event about one user, whose key its personal data is under."""

    sub: str

    def data_subject(self) -> str | None:
        """The user."""
        return self.sub


class UserRegistered(_OfUser, stored_as="identity.UserRegistered"):
    """A user exists. The name is taken for ever (as a keyed digest, in the log's names)."""

    user_name: Personal[str]
    kind: UserKind
    profile: Profile
    roles: tuple[Role, ...] = ()


class ProfileChanged(_OfUser, stored_as="identity.ProfileChanged"):
    """The attributes are now these."""

    profile: Profile


class RolesChanged(_OfUser, stored_as="identity.RolesChanged"):
    """The roles are now these."""

    denial_kinds = frozenset({DenialKind.SUBJECT})

    roles: tuple[Role, ...]
    removed: tuple[Role, ...]

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off where a role was removed."""
        return (Denial(DenialKind.SUBJECT, self.sub, DenialRule.CUT_OFF),) if self.removed else ()


class UserDisabled(_OfUser, stored_as="identity.UserDisabled"):
    """The user may not sign in, and no token that names them is accepted while this stands."""

    denial_kinds = frozenset({DenialKind.SUBJECT})

    reason: str

    def denies(self) -> tuple[Denial, ...]:
        """The subject, while disabled."""
        return (Denial(DenialKind.SUBJECT, self.sub, DenialRule.STANDING),)


class UserEnabled(_OfUser, stored_as="identity.UserEnabled"):
    """The user may sign in again; grants resume."""

    denial_kinds = frozenset({DenialKind.SUBJECT})

    def denies(self) -> tuple[Denial, ...]:
        """Lifts the denial of the subject."""
        return (Denial(DenialKind.SUBJECT, self.sub, DenialRule.LIFTED),)


class UserErased(_OfUser, stored_as="identity.UserErased"):
    """The user is gone for ever, and the key of their personal data was destroyed in the same append.

    Their name and `sub` are given to nobody again. What the log says of them stays, and nobody can read it any more.
    """

    denial_kinds = frozenset({DenialKind.SUBJECT})

    def denies(self) -> tuple[Denial, ...]:
        """The subject, for ever."""
        return (Denial(DenialKind.SUBJECT, self.sub, DenialRule.STANDING),)


class PasswordSet(_OfUser, stored_as="identity.PasswordSet"):
    """A first password; the hash is in the vault, never here."""


class PasswordChanged(_OfUser, stored_as="identity.PasswordChanged"):
    """The user chose another password; their other sessions end, with the grants of those."""

    denial_kinds = frozenset({DenialKind.SUBJECT_SESSIONS})

    kept_session: str | None

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off for the user's sessions, but for the one that did it."""
        return (Denial(DenialKind.SUBJECT_SESSIONS, self.sub, DenialRule.CUT_OFF, except_id=self.kept_session),)


class PasswordReset(_OfUser, stored_as="identity.PasswordReset"):
    """Somebody else set the password: whatever the account gave before ends."""

    denial_kinds = frozenset({DenialKind.SUBJECT})

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off for the subject: sessions, grants and personal access tokens."""
        return (Denial(DenialKind.SUBJECT, self.sub, DenialRule.CUT_OFF),)


class SecondFactorKind(StrEnum):
    """What a user proves who they are with beside the password."""

    TOTP = "totp"
    """A code of an application on their telephone, which changes with the time (RFC 6238)."""


class SecondFactorAdded(_OfUser, stored_as="identity.SecondFactorAdded"):
    """The password alone is not enough any more to sign in as this user; what was begun with it alone ends.

    The seed and the digests of the recovery codes that go with it are in the vault, never here.
    """

    denial_kinds = frozenset({DenialKind.SUBJECT_SESSIONS})

    kind: SecondFactorKind
    kept_session: str

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off for the user's sessions, but for the one that did it."""
        return (Denial(DenialKind.SUBJECT_SESSIONS, self.sub, DenialRule.CUT_OFF, except_id=self.kept_session),)


class SecondFactorRemoved(_OfUser, stored_as="identity.SecondFactorRemoved"):
    """The user wants no codes any more; the recovery codes went with it, unless there are passkeys."""

    denial_kinds = frozenset({DenialKind.SUBJECT_SESSIONS})

    kind: SecondFactorKind
    with_recovery_code: bool
    kept_session: str

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off for the user's sessions, but for the one that did it."""
        return (Denial(DenialKind.SUBJECT_SESSIONS, self.sub, DenialRule.CUT_OFF, except_id=self.kept_session),)


class SecondFactorReset(_OfUser, stored_as="identity.SecondFactorReset"):
    """Somebody else took the second factor away, passkeys too: whatever the account gave before ends."""

    denial_kinds = frozenset({DenialKind.SUBJECT})

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off for the subject: sessions, grants and personal access tokens."""
        return (Denial(DenialKind.SUBJECT, self.sub, DenialRule.CUT_OFF),)


class RecoveryCodesReplaced(_OfUser, stored_as="identity.RecoveryCodesReplaced"):
    """The user has new recovery codes; those of before open nothing."""

    with_recovery_code: bool
    """One of those of before was used up for it."""


class PasskeyAdded(_OfUser, stored_as="identity.PasskeyAdded"):
    """The user made a passkey (WebAuthn): it signs in by itself, and the password alone is not enough any more.

    The credential's id, public key and signature counter are in a table of this service, never here.
    """

    denial_kinds = frozenset({DenialKind.SUBJECT_SESSIONS})

    passkey_id: str
    """A random id of ours; the authenticator does not know it."""
    name: Personal[str]
    """What the user calls it."""
    backup_eligible: bool
    """The authenticator says that the key may be copied to other devices of the user (WebAuthn section 6.1, BE)."""
    kept_session: str

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off for the user's sessions, but for the one that did it."""
        return (Denial(DenialKind.SUBJECT_SESSIONS, self.sub, DenialRule.CUT_OFF, except_id=self.kept_session),)


class PasskeyRemoved(_OfUser, stored_as="identity.PasskeyRemoved"):
    """The passkey opens nothing any more; with the user's last second factor the recovery codes went."""

    denial_kinds = frozenset({DenialKind.SUBJECT_SESSIONS})

    passkey_id: str
    kept_session: str

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off for the user's sessions, but for the one that did it."""
        return (Denial(DenialKind.SUBJECT_SESSIONS, self.sub, DenialRule.CUT_OFF, except_id=self.kept_session),)


class PasskeyCounterWentBack(_OfUser, stored_as="identity.PasskeyCounterWentBack"):
    """A passkey signed with a counter that is not past the last one, and was refused: there may be a copy of it.

    WebAuthn section 6.1.1. Only who has the private key gets this far.
    """

    passkey_id: str
    known: int
    """The counter at its last use."""
    told: int


class SignInsFailed(Event, stored_as="identity.SignInsFailed"):
    """Sign-ins that failed within a minute or so, counted: a fact for each would let strangers fill the log."""

    retention = Retention.EXPIRING

    sub: str | None
    """Whose name was given. None: a name that nobody has, or one of too many to tell apart, or nobody looked."""
    wrong: int
    """The password was wrong, or the passkey, or the user may not sign in."""
    not_looked_at: int
    """There had been too many attempts."""
    wrong_second_factor: int = 0
    """The password was right, and what was to come after it was wrong: somebody else may know the password."""
    first_at: datetime
    last_at: datetime


class SessionStarted(_OfUser, stored_as="identity.SessionStarted"):
    """The user signed in."""

    sid: str
    secret_digest: str
    """SHA-256 of the session cookie's secret, hexadecimal."""
    auth_time: datetime
    amr: tuple[str, ...]
    """Authentication methods (RFC 8176)."""
    expires_at: datetime
    """Absolute end; a session idles out before."""
    address: Personal[str] | None = None
    user_agent: Personal[str] | None = None
    with_recovery_code: bool = False
    """A recovery code stood in for the second factor, and is used up."""


class SessionReauthenticated(_OfUser, stored_as="identity.SessionReauthenticated"):
    """The same user proved it again within the session; the cookie was replaced."""

    sid: str
    secret_digest: str
    auth_time: datetime
    amr: tuple[str, ...]
    with_recovery_code: bool = False


class SessionSteppedUp(_OfUser, stored_as="identity.SessionSteppedUp"):
    """The user proved the second factor too, within a session that was begun by the first; the cookie was replaced.

    When they signed in stays what it was: the password was not asked for again.
    """

    sid: str
    secret_digest: str
    amr: tuple[str, ...]
    with_recovery_code: bool = False


class SessionEndReason(StrEnum):
    """Why a session ended by hand. Expiry by time is no event: it ends nothing else."""

    SIGNED_OUT = "signed_out"
    ENDED_BY_USER = "ended_by_user"
    ENDED_BY_ADMINISTRATOR = "ended_by_administrator"


class SessionEnded(_OfUser, stored_as="identity.SessionEnded"):
    """The session is over, and so is what it gave."""

    denial_kinds = frozenset({DenialKind.SESSION})

    sid: str
    reason: SessionEndReason
    tokens_end_at: datetime
    """By then the last token that the session can have given has expired."""

    def denies(self) -> tuple[Denial, ...]:
        """The session, and with it its grants."""
        return (Denial(DenialKind.SESSION, self.sid, DenialRule.STANDING, until=self.tokens_end_at),)


class ConsentGiven(_OfUser, stored_as="identity.ConsentGiven"):
    """The user allowed an application these scopes, in addition to those allowed before."""

    client_id: str
    scopes: tuple[str, ...]


class ConsentWithdrawn(_OfUser, stored_as="identity.ConsentWithdrawn"):
    """The user stopped an application: their grants to it end."""

    denial_kinds = frozenset({DenialKind.SUBJECT_CLIENT})

    client_id: str

    def denies(self) -> tuple[Denial, ...]:
        """A cut-off for the user's grants at that application."""
        return (Denial(DenialKind.SUBJECT_CLIENT, subject_client_id(self.sub, self.client_id), DenialRule.CUT_OFF),)
