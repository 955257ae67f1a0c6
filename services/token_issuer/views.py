"""What the issuer knows of the world when it decides: typed, complete for one request, read in one statement."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from services.identity.events import Role, UserKind
from services.registry.events import (
    ApplicationSettings,
    ApplicationType,
    GrantType,
    ResourceSettings,
    SecurityProfile,
)
from services.token_issuer.domain.grant import Grant
from shared.denials import DenialKind, DenialRule, subject_client_id
from shared.log.append import AsOf


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of an application."""

    digest: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Application:
    """A trusted application."""

    client_id: str
    settings: ApplicationSettings
    enabled: bool
    secrets: tuple[Secret, ...] = ()

    @property
    def confidential(self) -> bool:
        """Whether it can keep a secret."""
        return self.settings.type is ApplicationType.CONFIDENTIAL

    @property
    def fapi2(self) -> bool:
        """Whether it is held to the FAPI 2.0 Security Profile."""
        return self.settings.security_profile is SecurityProfile.FAPI2

    def uses(self, grant: GrantType) -> bool:
        """Whether it may use this grant."""
        return grant in self.settings.grants


@dataclass(frozen=True, slots=True)
class Resource:
    """An API that accepts tokens."""

    identifier: str
    settings: ResourceSettings

    def owns(self, scope: str) -> bool:
        """Whether this is one of its scopes."""
        return any(owned.name == scope for owned in self.settings.scopes)


@dataclass(frozen=True, slots=True)
class User:
    """A person or a service account."""

    sub: str
    kind: UserKind
    roles: tuple[Role, ...]
    enabled: bool
    sessions_cut_off: int = 0
    """Sessions begun at or before this position are over …"""
    kept_session: str | None = None
    """… but for this one."""


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in."""

    sid: str
    sub: str
    position: int
    """Where it began."""
    ended: bool
    expires_at: datetime

    def open(self, user: User, now: datetime) -> bool:
        """Whether it is this user's, and goes on."""
        cut_off = self.position <= user.sessions_cut_off and self.sid != user.kept_session
        return self.sub == user.sub and not self.ended and not cut_off and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Standing:
    """A denial by a fact of another service, as the issuer knows it."""

    kind: DenialKind
    id: str
    rule: DenialRule
    position: int
    except_id: str | None = None


@dataclass(frozen=True, slots=True)
class KnownGrant:
    """A grant, and where it stands in the log."""

    grant: Grant
    version: int
    born: int
    """Position of its opening."""
    position: int
    """Of the event that issued the newest access token; its opening's as long as there is none."""
    epoch: int
    issued_at: datetime
    """When that event was recorded."""


class Known(Struct, frozen=True):
    """All that one request is decided on, at one moment."""

    head: int
    """Where the log stood."""
    as_of: AsOf
    """In which epoch, and for each source of others' facts the position up to which they are in here."""
    application: Application | None = None
    resources: tuple[Resource, ...] = ()
    user: User | None = None
    session: Session | None = None
    grant: KnownGrant | None = None
    denials: tuple[Standing, ...] = ()
    """Of the parties of `grant`; where none was asked for, of the user at the application."""


def parties(client_id: str, sub: str, sid: str) -> tuple[tuple[DenialKind, str], ...]:
    """Whose denial stops a grant: the parties of every fence around it."""
    return (
        (DenialKind.CLIENT, client_id),
        (DenialKind.SUBJECT, sub),
        (DenialKind.SUBJECT_SESSIONS, sub),
        (DenialKind.SESSION, sid),
        (DenialKind.SUBJECT_CLIENT, subject_client_id(sub, client_id)),
    )


def denied(grant: Grant, born: int, denials: Iterable[Standing]) -> bool:
    """Whether one of a grant's parties was denied: while that stands, or for what was born up to a position."""
    concerned = set(parties(grant.client_id, grant.sub, grant.sid))
    return any(
        (denial.kind, denial.id) in concerned
        and (denial.rule is DenialRule.STANDING or denial.position >= born)
        and not (denial.kind is DenialKind.SUBJECT_SESSIONS and denial.except_id == grant.sid)
        for denial in denials
    )
