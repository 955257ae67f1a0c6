"""What the issuer learns of the facts of the registry and of identity."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from services.identity import events as identity
from services.registry import events as registry
from shared.denials import Denial, DenialRule
from shared.log.event import Delete, Event, Patch, Put, Recorded, RowChange, Stamp

PROJECTION = "known"
SOURCES = ("registry", "identity")

APPLICATIONS = "token_issuer.applications"
SECRETS = "token_issuer.secrets"
RESOURCES = "token_issuer.resources"
USERS = "token_issuer.users"
SESSIONS = "token_issuer.sessions"
DENIALS = "token_issuer.denials"


def project(recorded: Recorded) -> Iterable[RowChange]:
    """The rows that change with a fact of another service."""
    yield from _of_registry(recorded.event, recorded.position)
    yield from _of_identity(recorded.event, recorded.position)
    for denial in recorded.event.denies():
        yield _denial(denial, recorded.position)


def _of_registry(event: Event, position: int | Stamp) -> Iterator[RowChange]:
    match event:
        case registry.ApplicationRegistered() | registry.ApplicationChanged():
            yield from _application(event, position)
        case registry.ApplicationDisabled() | registry.ApplicationEnabled():
            enabled = isinstance(event, registry.ApplicationEnabled)
            yield Patch(APPLICATIONS, {"client_id": event.client_id}, {"enabled": enabled, "position": position})
        case registry.ApplicationUninstalled():
            yield Patch(APPLICATIONS, {"client_id": event.client_id}, {"uninstalled": True, "position": position})
            yield Delete(SECRETS, {"client_id": event.client_id})
        case registry.SecretAdded():
            yield Put(
                SECRETS,
                {
                    "client_id": event.client_id,
                    "secret_id": event.secret_id,
                    "digest": event.secret_digest,
                    "expires_at": event.expires_at,
                },
            )
        case registry.SecretRevoked() | registry.SecretReportedCompromised():
            yield Delete(SECRETS, {"client_id": event.client_id, "secret_id": event.secret_id})
        case registry.ResourceRegistered():
            yield Put(
                RESOURCES,
                {
                    "resource_id": event.resource_id,
                    "identifier": event.identifier,
                    **_resource_settings(event.settings),
                    "position": position,
                },
            )
        case registry.ResourceChanged():
            values = {**_resource_settings(event.settings), "position": position}
            yield Patch(RESOURCES, {"resource_id": event.resource_id}, values)
        case registry.ResourceRemoved():
            yield Delete(RESOURCES, {"resource_id": event.resource_id})


def _application(
    event: registry.ApplicationRegistered | registry.ApplicationChanged, position: int | Stamp
) -> Iterator[RowChange]:
    values = {
        "settings": event.settings.model_dump(mode="json"),
        "scopes": list(event.settings.scopes),
        "service_account": event.settings.service_account,
        "position": position,
    }
    if isinstance(event, registry.ApplicationRegistered):
        yield Put(APPLICATIONS, {"client_id": event.client_id, "enabled": True, "uninstalled": False, **values})
    else:
        yield Patch(APPLICATIONS, {"client_id": event.client_id}, values)


def _resource_settings(settings: registry.ResourceSettings) -> dict[str, dict[str, object] | list[str]]:
    return {
        "settings": settings.model_dump(mode="json"),
        "scopes": [scope.name for scope in settings.scopes],
    }


def _of_identity(event: Event, position: int | Stamp) -> Iterator[RowChange]:
    match event:
        case identity.UserRegistered():
            yield Put(
                USERS,
                {
                    "sub": event.sub,
                    "kind": event.kind.value,
                    "roles": [role.value for role in event.roles],
                    "enabled": True,
                    "sessions_cut_off": 0,
                    "kept_session": None,
                    "position": position,
                },
            )
        case identity.RolesChanged():
            yield _user(event.sub, position, roles=[role.value for role in event.roles])
        case identity.UserDisabled():
            yield _user(event.sub, position, enabled=False)
        case identity.UserEnabled():
            yield _user(event.sub, position, enabled=True)
        case identity.UserErased():
            # Not their sessions: by these it is found out which applications have to be told that they are over.
            yield Delete(USERS, {"sub": event.sub})
        case identity.PasswordReset() | identity.SecondFactorReset():
            yield _user(event.sub, position, sessions_cut_off=position, kept_session=None)
        case (
            identity.PasswordChanged()
            | identity.SecondFactorAdded()
            | identity.SecondFactorRemoved()
            | identity.PasskeyAdded()
            | identity.PasskeyRemoved()
        ):
            yield _user(event.sub, position, sessions_cut_off=position, kept_session=event.kept_session)
        case identity.SessionStarted():
            yield Put(SESSIONS, _session(event.sid, event.sub, event.expires_at, position))
        case identity.SessionEnded():
            yield Patch(SESSIONS, {"sid": event.sid}, {"ended": True})


def _user(sub: str, position: int | Stamp, **values: str | int | bool | list[str] | Stamp | None) -> Patch:
    return Patch(USERS, {"sub": sub}, {**values, "position": position})


def _session(
    sid: str, sub: str, expires_at: datetime, position: int | Stamp
) -> dict[str, str | int | bool | datetime | Stamp]:
    return {"sid": sid, "sub": sub, "expires_at": expires_at, "ended": False, "position": position}


def _denial(denial: Denial, position: int | Stamp) -> RowChange:
    """A lifted denial takes away the standing one; a newer cut-off replaces the older one, which it includes."""
    key = {"kind": denial.kind.value, "id": denial.id}
    if denial.rule is DenialRule.LIFTED:
        return Delete(DENIALS, {**key, "rule": DenialRule.STANDING.value})
    except_id = denial.except_id or ""
    return Put(DENIALS, {**key, "rule": denial.rule.value, "except_id": except_id, "position": position})
