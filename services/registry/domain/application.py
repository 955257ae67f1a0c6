"""One application: from its registration, through its secrets and the kill switch, to its end.

    unknown ── Register ──▶ trusted (enabled ⇄ disabled) ── Uninstall ──▶ gone, and its client_id with it

Asking for what already is so succeeds and writes nothing: disabling twice is not an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, assert_never

from services.registry.domain.dynamic import (
    DynamicRegistration,
    Registrant,
    check_allowed,
    check_dynamic,
    evolve_registration,
    not_accepted,
)
from services.registry.domain.fapi import implied
from services.registry.domain.installation import Installation
from services.registry.domain.refusals import invalid
from services.registry.domain.text import check_text
from services.registry.domain.trust import (
    check_client_id,
    check_known,
    check_settings,
    default_auth_method,
    has_secrets,
    narrowed,
    proof_changed,
    references_narrowed,
)
from services.registry.events import (
    ApplicationChanged,
    ApplicationDisabled,
    ApplicationEnabled,
    ApplicationInstalled,
    ApplicationRegistered,
    ApplicationSettings,
    ApplicationType,
    ApplicationUninstalled,
    RegistrationAccessTokenRevoked,
    SecretAdded,
    SecretReportedCompromised,
    SecretRevoked,
)
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.ids import same
from shared.log.event import Event

MOST_SECRETS = 5
"""Valid at once: enough for a rotation without a gap, few enough to know them all."""

SYSTEM = "com.stagedoor/"
"""Applications below this name are part of the system: it registers them itself, and nobody uninstalls them."""


# Commands


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret that was just made; only its digest comes in here."""

    secret_id: str
    secret_digest: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Register:
    """Trust an application from now on."""

    client_id: str
    settings: ApplicationSettings
    known_scopes: frozenset[str]
    """All that some resource owns."""
    secret: NewSecret
    """Its first one; left aside where the application has none."""
    by_system: bool = False
    demo: bool = False
    """The instance is in demo mode, which allows an application more."""
    registrant: Registrant | None = None
    """The program that registers it (RFC 7591). None: an administrator does."""
    installation: Installation | None = None
    """Its vendor's description that the administrator approved. None: it comes by no link."""


@dataclass(frozen=True, slots=True)
class Change:
    """Replace single settings; the others stay as they are when it is decided, whoever changed them last."""

    client_id: str
    changes: Mapping[str, Any]
    """Settings by the names of `ApplicationSettings`."""
    known_scopes: frozenset[str]
    demo: bool = False
    """As when it is registered."""


@dataclass(frozen=True, slots=True)
class Disable:
    """Refuse every token of the application, everywhere, until it is enabled."""

    client_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Enable:
    """Let the application, and the grants it had, go on."""

    client_id: str


@dataclass(frozen=True, slots=True)
class Uninstall:
    """End the application for ever."""

    client_id: str


@dataclass(frozen=True, slots=True)
class AddSecret:
    """One more secret; those before it stay valid, so that a rotation has no gap."""

    client_id: str
    secret: NewSecret
    now: datetime


@dataclass(frozen=True, slots=True)
class RevokeSecret:
    """Accept a secret no longer."""

    client_id: str
    secret_id: str


@dataclass(frozen=True, slots=True)
class ReportSecretCompromised:
    """Accept a secret no longer, nor anything that the application was given until now."""

    client_id: str
    secret_id: str


@dataclass(frozen=True, slots=True)
class ByRegistrant:
    """What its registration access token asks for (RFC 7592 sections 2.2, 2.3), if it is still accepted."""

    client_id: str
    token_digest: str
    command: Change | Uninstall
    secret: NewSecret
    """For an application that has none and needs one from now on."""
    now: datetime
    shown_secret_digest: str | None = None
    """Of the `client_secret` that came with a change: it has to be one of the application's (section 2.2)."""


@dataclass(frozen=True, slots=True)
class RevokeRegistrationAccessToken:
    """Have the application managed by administrators alone."""

    client_id: str


Command = (
    Register
    | Change
    | Disable
    | Enable
    | Uninstall
    | AddSecret
    | RevokeSecret
    | ReportSecretCompromised
    | ByRegistrant
    | RevokeRegistrationAccessToken
)


# States


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody registered it: it gets nothing."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What is known of a secret: never the secret."""

    expires_at: datetime | None
    revoked: bool = False
    compromised: bool = False
    digest: str = ""

    def valid(self, now: datetime) -> bool:
        """Whether the application can still authenticate with it."""
        return not self.revoked and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True, slots=True)
class Trusted:
    """It is registered, and may act unless it is disabled."""

    client_id: str
    settings: ApplicationSettings
    enabled: bool = True
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    registration: DynamicRegistration | None = None
    """None: an administrator registered it."""
    installed: ApplicationInstalled | None = None
    """The description that it was installed from. None: it was not."""

    def managed_by(self, token_digest: str) -> bool:
        """Whether this is its registration access token, and it is accepted now."""
        return self.registration is not None and self.registration.accepts(token_digest) and self.enabled


@dataclass(frozen=True, slots=True)
class Gone:
    """It was uninstalled."""


State = Unknown | Trusted | Gone


# Rules


def decide(command: Command, state: State) -> Sequence[Event]:  # noqa: C901, PLR0911  (one answer for each command)
    """What happens when `command` meets `state`, or the refusal."""
    match command:
        case Register():
            return _register(command, state)
        case Uninstall():
            return _uninstall(command, state)
        case Change():
            return _change(command, _trusted(state))
        case Disable():
            return _disable(command, _trusted(state))
        case Enable():
            return () if _trusted(state).enabled else (ApplicationEnabled(client_id=command.client_id),)
        case AddSecret():
            return _add_secret(command, _trusted(state))
        case RevokeSecret():
            return _revoke_secret(command, _trusted(state))
        case ReportSecretCompromised():
            return _report_compromised(command, _trusted(state))
        case ByRegistrant():
            return _by_registrant(command, state)
        case RevokeRegistrationAccessToken():
            registration = _trusted(state).registration
            had = registration is not None and not registration.revoked
            return (RegistrationAccessTokenRevoked(client_id=command.client_id),) if had else ()
        case _:
            assert_never(command)


def _register(command: Register, state: State) -> Sequence[Event]:
    check_client_id(command.client_id)
    if not isinstance(state, Unknown):
        raise Refusal(Kind.ALREADY_EXISTS, "name_taken", "the client_id is taken, and names are never reused")
    if command.client_id.startswith(SYSTEM) and not command.by_system:
        raise invalid(f"the names below {SYSTEM} are the system's own")
    check_settings(command.settings, demo=command.demo)
    check_known(command.settings.scopes, command.known_scopes)
    events: list[Event] = [ApplicationRegistered(client_id=command.client_id, settings=command.settings)]
    if has_secrets(command.settings):
        events.append(_added(command.client_id, command.secret))
    if (registrant := command.registrant) is not None:
        registrant.check(command.client_id, command.settings)
        events.append(registrant.event(command.client_id))
    if (installation := command.installation) is not None:
        installation.check(command.client_id, command.settings, demo=command.demo)
        events.append(installation.event(command.client_id))
    return events


def _change(command: Change, state: Trusted) -> Sequence[Event]:
    changes = dict(command.changes)
    if changes.get("type", state.settings.type) is not state.settings.type:
        raise invalid("the type of an application cannot change, since its secrets depend on it; register another")
    if "auth_method" in changes and changes["auth_method"] is None:
        after = {**dict(state.settings), **changes}
        signs = bool(after["jwks"] or after["jwks_uri"])
        changes["auth_method"] = default_auth_method(state.settings.type, signs=signs)
    if state.settings.security_profile is None:
        by_certificate = changes.get(
            "tls_client_certificate_bound_access_tokens", state.settings.tls_client_certificate_bound_access_tokens
        )
        changes = {**implied(changes.get("security_profile"), by_certificate=by_certificate), **changes}
    settings = ApplicationSettings.model_validate({**dict(state.settings), **changes})
    if settings == state.settings:
        return ()
    check_settings(settings, demo=command.demo)
    if state.registration is not None:
        check_dynamic(settings)
    check_known(set(settings.scopes) - set(state.settings.scopes), command.known_scopes)
    return (
        ApplicationChanged(
            client_id=command.client_id,
            settings=settings,
            narrowed=narrowed(state.settings, settings),
            references_narrowed=references_narrowed(state.settings, settings),
            proof_changed=proof_changed(state.settings, settings),
        ),
    )


def _by_registrant(command: ByRegistrant, state: State) -> Sequence[Event]:
    if not isinstance(state, Trusted) or not state.managed_by(command.token_digest):
        raise not_accepted()
    if isinstance(command.command, Uninstall):
        return _uninstall(command.command, state)
    valid = [secret for secret in state.secrets.values() if secret.valid(command.now)]
    shown = command.shown_secret_digest
    if shown is not None and not any(same(secret.digest, shown) for secret in valid):
        raise invalid("the client_secret is none of the application's; nobody chooses one")
    events = _change(command.command, state)
    after = next((event.settings for event in events if isinstance(event, ApplicationChanged)), state.settings)
    if state.registration is not None:
        check_allowed(after, state.registration.registered, before=state.settings)
    if after.security_profile is not state.settings.security_profile and after.security_profile is None:
        raise invalid("security_profile: an application does not take it from itself; an administrator does")
    if has_secrets(after) and not valid:
        return *events, _added(command.client_id, command.secret)
    return events


def _disable(command: Disable, state: Trusted) -> Sequence[Event]:
    check_text(command.reason, "the reason", longest=200, empty=True)
    return (ApplicationDisabled(client_id=command.client_id, reason=command.reason),) if state.enabled else ()


def _uninstall(command: Uninstall, state: State) -> Sequence[Event]:
    if isinstance(state, Gone):
        return ()
    _trusted(state)
    if command.client_id.startswith(SYSTEM):
        raise Refusal(Kind.PRECONDITION, "system_application", "this application is part of the system")
    return (ApplicationUninstalled(client_id=command.client_id),)


def _add_secret(command: AddSecret, state: Trusted) -> Sequence[Event]:
    confidential = state.settings.type is ApplicationType.CONFIDENTIAL
    if not has_secrets(state.settings):
        why = "signs with its key" if confidential else f"is {state.settings.type} and can keep no secret"
        raise Refusal(Kind.PRECONDITION, "no_secrets", f"the application {why}, so it has none")
    expires_at = command.secret.expires_at
    if expires_at is not None and expires_at <= command.now:
        raise invalid("the secret would have expired already")
    if sum(secret.valid(command.now) for secret in state.secrets.values()) >= MOST_SECRETS:
        raise Refusal(
            Kind.PRECONDITION, "too_many_secrets", f"{MOST_SECRETS} secrets are valid at once at most; revoke one first"
        )
    return (_added(command.client_id, command.secret),)


def _revoke_secret(command: RevokeSecret, state: Trusted) -> Sequence[Event]:
    if _secret(state, command.secret_id).revoked:
        return ()
    return (SecretRevoked(client_id=command.client_id, secret_id=command.secret_id),)


def _report_compromised(command: ReportSecretCompromised, state: Trusted) -> Sequence[Event]:
    """Also of a secret that was revoked before: what its thief got with it may still be alive."""
    if _secret(state, command.secret_id).compromised:
        return ()
    return (SecretReportedCompromised(client_id=command.client_id, secret_id=command.secret_id),)


def _added(client_id: str, secret: NewSecret) -> SecretAdded:
    return SecretAdded(
        client_id=client_id,
        secret_id=secret.secret_id,
        secret_digest=secret.secret_digest,
        expires_at=secret.expires_at,
    )


def _trusted(state: State) -> Trusted:
    if isinstance(state, Trusted):
        return state
    raise not_found()


def not_found() -> Refusal:
    """Nobody registered it, or it was uninstalled."""
    return Refusal(Kind.NOT_FOUND, "application_not_found", "there is no such application")


def _secret(state: Trusted, secret_id: str) -> Secret:
    if secret_id in state.secrets:
        return state.secrets[secret_id]
    raise Refusal(Kind.NOT_FOUND, "secret_not_found", "the application has no such secret")


# History


def evolve(state: State, event: Event) -> State:
    """The state after a fact."""
    match event:
        case ApplicationRegistered():
            return Trusted(event.client_id, event.settings)
        case ApplicationUninstalled():
            return Gone()
        case ApplicationInstalled() if isinstance(state, Trusted):
            return replace(state, installed=event)
    return _evolve_trusted(state, event) if isinstance(state, Trusted) else state


def _evolve_trusted(state: Trusted, event: Event) -> Trusted:
    match event:
        case ApplicationChanged():
            return replace(state, settings=event.settings)
        case ApplicationDisabled() | ApplicationEnabled():
            return replace(state, enabled=isinstance(event, ApplicationEnabled))
        case SecretAdded():
            return _with_secret(state, event.secret_id, Secret(event.expires_at, digest=event.secret_digest))
        case SecretRevoked():
            return _with_secret(state, event.secret_id, replace(state.secrets[event.secret_id], revoked=True))
        case SecretReportedCompromised():
            ended = replace(state.secrets[event.secret_id], revoked=True, compromised=True)
            return _with_secret(state, event.secret_id, ended)
        case _:
            return replace(state, registration=evolve_registration(state.registration, event))


def _with_secret(state: Trusted, secret_id: str, secret: Secret) -> Trusted:
    return replace(state, secrets={**state.secrets, secret_id: secret})


decider: Decider[Command, State] = Decider("application", Unknown(), decide, evolve)
