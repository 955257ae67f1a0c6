"""What the registry tells of the past: applications and resources as they were."""

from collections.abc import Mapping
from datetime import datetime

from services.registry.domain import application, initial_access, resource
from shared.denials import DenialKind
from shared.history import History, State, Thing


def _application(client_id: str, state: application.State, at: datetime) -> State | None:
    match state:
        case application.Unknown():
            return None
        case application.Gone():
            return {"client_id": client_id, "state": "uninstalled"}
    return {
        "client_id": client_id,
        "state": "trusted",
        "enabled": state.enabled,
        **state.settings.model_dump(mode="json"),
        "secrets": [_secret(secret_id, secret, at) for secret_id, secret in state.secrets.items()],
        **_registration(state),
        **({} if state.installed is None else state.installed.model_dump(exclude={"client_id"})),
    }


def _registration(state: application.Trusted) -> Mapping[str, object]:
    """Of an application that a program registered: with which initial access token, and whether it manages itself."""
    if state.registration is None:
        return {}
    return {
        "initial_access_token": state.registration.registered.initial_access_token,
        "manages_itself": state.enabled and not state.registration.revoked,
    }


def _initial_access(_: str, state: initial_access.State, at: datetime) -> State | None:
    if isinstance(state, initial_access.Unknown):
        return None
    issued = state.as_issued
    said = issued.model_dump(mode="json", exclude={"token_digest"})
    revoked = isinstance(state, initial_access.Revoked)
    return {**said, "expires_at": issued.expires_at, "revoked": revoked, "expired": issued.expires_at <= at}


def _secret(secret_id: str, secret: application.Secret, at: datetime) -> Mapping[str, object]:
    return {
        "secret_id": secret_id,
        "valid": secret.valid(at),
        "expires_at": secret.expires_at,
        "revoked": secret.revoked,
        "compromised": secret.compromised,
    }


def _resource(identifier: str, state: resource.Catalogue, _: datetime) -> State | None:
    found = state.by_id.get(resource.resource_id(identifier))
    return None if found is None else {"identifier": found.identifier, **found.settings.model_dump(mode="json")}


HISTORY = History(
    source="registry",
    things=(
        Thing("application", application.decider, _application),
        Thing("initial_access_token", initial_access.decider, _initial_access),
        # All resources are one aggregate.
        Thing("resource", resource.decider, _resource, aggregate=lambda _: resource.CATALOGUE),
    ),
    denied_in={
        DenialKind.CLIENT: (application.decider.stream,),
        DenialKind.CLIENT_REFERENCES: (application.decider.stream,),
    },
)
