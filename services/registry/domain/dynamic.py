"""What an application may be that a program registered, and no administrator looked at (RFC 7591).

Whoever has its registration access token changes its keys, where it sends people, and who it says it is. So nothing is
ever given to it that rests on who it is, by an administrator neither: he registers it himself then, under another name.
"""

from dataclasses import dataclass, replace

from services.registry.domain.refusals import invalid
from services.registry.domain.resource import MANAGEMENT_SCOPE
from services.registry.events import (
    ApplicationDynamicallyRegistered,
    ApplicationSettings,
    GrantType,
    ReferenceTokens,
    RegistrationAccessTokenRevoked,
)
from shared.errors import Kind, Refusal
from shared.ids import same
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Registrant:
    """A program that has shown an initial access token, and what that allows."""

    initial_access_token: str
    """Its id."""
    client_id_prefix: str
    scopes: tuple[str, ...]
    grants: tuple[GrantType, ...]
    registration_digest: str
    """Of the registration access token that is made for the application."""

    def check(self, client_id: str, settings: ApplicationSettings) -> None:
        """Refuse what the initial access token does not allow, and what no such application may be."""
        if not client_id.startswith(self.client_id_prefix):
            raise invalid("the initial access token does not allow this name")
        check_dynamic(settings)
        check_allowed(settings, self.event(client_id))

    def event(self, client_id: str) -> ApplicationDynamicallyRegistered:
        """What stands in the log beside the registration."""
        return ApplicationDynamicallyRegistered(
            client_id=client_id,
            initial_access_token=self.initial_access_token,
            scopes=self.scopes,
            grants=self.grants,
            registration_token_digest=self.registration_digest,
        )


@dataclass(frozen=True, slots=True)
class DynamicRegistration:
    """What an application has of having been registered by a program."""

    registered: ApplicationDynamicallyRegistered
    revoked: bool = False
    """Its registration access token was."""

    def accepts(self, token_digest: str) -> bool:
        """Whether this is its registration access token, and not revoked."""
        return same(self.registered.registration_token_digest, token_digest) and not self.revoked


def evolve_registration(state: DynamicRegistration | None, event: Event) -> DynamicRegistration | None:
    """The state after a fact."""
    match event:
        case ApplicationDynamicallyRegistered():
            return DynamicRegistration(event)
        case RegistrationAccessTokenRevoked() if state is not None:
            return replace(state, revoked=True)
    return state


def check_dynamic(settings: ApplicationSettings) -> None:
    """Refuse what no application may be that a program registered."""
    check_no_privileges(settings, "registered by a program")


def check_no_privileges(settings: ApplicationSettings, how: str) -> None:
    """Refuse settings that need somebody who knows the application. `how` it comes to be trusted, in words."""
    faults = (
        (settings.first_party, "first-party"),
        (settings.service_account is not None, "acting as a service account"),
        (settings.reference_tokens is not ReferenceTokens.NONE, "given reference tokens"),
        (not settings.require_pkce, "without PKCE"),
        (MANAGEMENT_SCOPE in settings.scopes, f"given the scope {MANAGEMENT_SCOPE}"),
    )
    for broken, what in faults:
        if broken:
            raise invalid(f"an application that was {how} is never {what}")


def check_allowed(
    settings: ApplicationSettings,
    registered: ApplicationDynamicallyRegistered,
    before: ApplicationSettings | None = None,
) -> None:
    """Refuse scopes and grants past those of its initial access token, unless it has them already."""
    had = ((), ()) if before is None else (before.scopes, before.grants)
    scopes = sorted(set(settings.scopes) - set(registered.scopes) - set(had[0]))
    if scopes:
        raise invalid(f"the initial access token does not allow the scope {' '.join(scopes)}")
    grants = sorted(set(settings.grants) - set(registered.grants) - set(had[1]))
    if grants:
        raise invalid(f"the initial access token does not allow the grant {' '.join(grants)}")


def not_accepted() -> Refusal:
    """The registration access token is not that of the application, or not accepted now: nothing else is said."""
    return Refusal(Kind.UNAUTHENTICATED, "invalid_token", "the registration access token is not accepted")
