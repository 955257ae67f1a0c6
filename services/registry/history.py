"""What the registry tells of the past: applications and resources as they were."""

from collections.abc import Mapping
from datetime import datetime

from services.registry.domain import application, resource
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
    }


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
        # All resources are one aggregate.
        Thing("resource", resource.decider, _resource, aggregate=lambda _: resource.CATALOGUE),
    ),
    denied_in={
        DenialKind.CLIENT: (application.decider.stream,),
        DenialKind.CLIENT_REFERENCES: (application.decider.stream,),
    },
)
