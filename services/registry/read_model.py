"""The registry's tables: how its events become rows, and the questions that are answered from them.

The rows are written in the append of the event, so whoever registers an application and reads it back finds it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from services.registry import registration_rows
from services.registry.events import (
    ApplicationChanged,
    ApplicationDisabled,
    ApplicationEnabled,
    ApplicationRegistered,
    ApplicationSettings,
    ApplicationUninstalled,
    RegistrationAccessTokenRevoked,
    ResourceChanged,
    ResourceRegistered,
    ResourceRemoved,
    ResourceSettings,
    Scope,
    SecretAdded,
    SecretReportedCompromised,
    SecretRevoked,
)
from shared.log.connections import Connections
from shared.log.event import Delete, Patch, Put, Recorded, RowChange, RowValue
from shared.questions import ask

APPLICATIONS = "registry.applications"
SECRETS = "registry.secrets"
RESOURCES = "registry.resources"


# From events to rows


def project(recorded: Recorded) -> Iterable[RowChange]:
    """What the tables learn of an event."""
    match recorded.event:
        case ResourceRegistered() | ResourceChanged() | ResourceRemoved() as event:
            return _resource(event, recorded)
        case SecretAdded() | SecretRevoked() | SecretReportedCompromised() as event:
            return _secret(event, recorded)
        case RegistrationAccessTokenRevoked(client_id=client_id):
            return (_changed(client_id, recorded),)
        case _:
            return (*_application(recorded), *registration_rows.project(recorded))


def _application(recorded: Recorded) -> Iterable[RowChange]:
    match recorded.event:
        case ApplicationRegistered(client_id=client_id, settings=settings):
            row: dict[str, RowValue] = {
                "client_id": client_id,
                "settings": settings.model_dump(mode="json"),
                "enabled": True,
                "registered_at": recorded.recorded_at,
                "position": recorded.position,
            }
            return (Put(APPLICATIONS, row),)
        case ApplicationChanged(client_id=client_id, settings=settings):
            return (_changed(client_id, recorded, settings=settings.model_dump(mode="json")),)
        case ApplicationDisabled(client_id=client_id):
            return (_changed(client_id, recorded, enabled=False),)
        case ApplicationEnabled(client_id=client_id):
            return (_changed(client_id, recorded, enabled=True),)
        case ApplicationUninstalled(client_id=client_id):
            of_it = {"client_id": client_id}
            return Delete(SECRETS, of_it), Delete(APPLICATIONS, of_it)
        case _:
            return ()


def _secret(event: SecretAdded | SecretRevoked | SecretReportedCompromised, recorded: Recorded) -> Iterable[RowChange]:
    of_it = {"client_id": event.client_id, "secret_id": event.secret_id}
    if isinstance(event, SecretAdded):
        row = {**of_it, "added_at": recorded.recorded_at, "expires_at": event.expires_at}
        return Put(SECRETS, row), _changed(event.client_id, recorded)
    return Delete(SECRETS, of_it), _changed(event.client_id, recorded)


def _changed(client_id: str, recorded: Recorded, **values: Any) -> Patch:
    return Patch(APPLICATIONS, {"client_id": client_id}, {**values, "position": recorded.position})


def _resource(event: ResourceRegistered | ResourceChanged | ResourceRemoved, recorded: Recorded) -> Iterable[RowChange]:
    of_it = {"resource_id": event.resource_id}
    match event:
        case ResourceRegistered():
            values = {"settings": event.settings.model_dump(mode="json"), "position": recorded.position}
            return (Put(RESOURCES, {**of_it, "identifier": event.identifier, **values}),)
        case ResourceChanged():
            values = {"settings": event.settings.model_dump(mode="json"), "position": recorded.position}
            return (Patch(RESOURCES, of_it, values),)
        case ResourceRemoved():
            return (Delete(RESOURCES, of_it),)


# Questions


@dataclass(frozen=True, slots=True)
class SecretRow:
    """A secret that was not revoked."""

    secret_id: str
    added_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApplicationRow:
    """A trusted application."""

    client_id: str
    settings: ApplicationSettings
    enabled: bool
    registered_at: datetime
    position: int
    secrets: tuple[SecretRow, ...]
    """In the order in which they were added."""
    initial_access_token: str | None = None
    """Id of the one that a program registered it with; None: an administrator registered it."""
    document: str | None = None
    """Where the description is from that it was installed by; None: it was not."""
    document_digest: str | None = None


@dataclass(frozen=True, slots=True)
class ResourceRow:
    """A registered resource."""

    identifier: str
    settings: ResourceSettings
    position: int


_SELECT_APPLICATIONS = """
    SELECT a.client_id, a.settings::text AS settings, a.enabled, a.registered_at, a.position,
           ARRAY(SELECT (s.secret_id, s.added_at, s.expires_at) FROM registry.secrets s
                 WHERE s.client_id = a.client_id ORDER BY s.added_at, s.secret_id) AS secrets,
           (SELECT r.token_id FROM registry.registrations r WHERE r.client_id = a.client_id) AS initial_access_token,
           i.document, i.document_digest
    FROM registry.applications a LEFT JOIN registry.installations i ON i.client_id = a.client_id
"""
_SELECT_RESOURCES = "SELECT r.identifier, r.settings::text AS settings, r.position FROM registry.resources r"


async def application(pool: Connections, client_id: str) -> ApplicationRow | None:
    """The application with this name."""
    row = await ask(pool.fetchrow(f"{_SELECT_APPLICATIONS} WHERE a.client_id = $1", client_id))
    return None if row is None else _application_row(row)


async def applications(pool: Connections, after: str, limit: int) -> Sequence[ApplicationRow]:
    """Applications by name, from the first one after `after`."""
    page = f"{_SELECT_APPLICATIONS} WHERE a.client_id > $1 ORDER BY a.client_id LIMIT $2"
    rows = await ask(pool.fetch(page, after, limit))
    return [_application_row(row) for row in rows]


async def resource(pool: Connections, identifier: str) -> ResourceRow | None:
    """The resource with this identifier."""
    row = await ask(pool.fetchrow(f"{_SELECT_RESOURCES} WHERE r.identifier = $1", identifier))
    return None if row is None else _resource_row(row)


async def resources(pool: Connections) -> Sequence[ResourceRow]:
    """All resources, by identifier."""
    return [_resource_row(row) for row in await ask(pool.fetch(f"{_SELECT_RESOURCES} ORDER BY r.identifier"))]


async def scopes_in_words(pool: Connections, scopes: Iterable[str]) -> tuple[Scope, ...]:
    """These scopes with what their resources say of them, in this order; those that no resource owns are left out."""
    owned = {scope.name: scope for found in await resources(pool) for scope in found.settings.scopes}
    return tuple(owned[name] for name in scopes if name in owned)


async def known_scopes(pool: Connections) -> frozenset[str]:
    """Every scope that a resource owns."""
    scopes = "SELECT scope ->> 'name' AS name FROM registry.resources, jsonb_array_elements(settings -> 'scopes') scope"
    rows = await ask(pool.fetch(scopes))
    return frozenset(row["name"] for row in rows)


def _application_row(row: asyncpg.Record) -> ApplicationRow:
    return ApplicationRow(
        client_id=row["client_id"],
        settings=ApplicationSettings.model_validate_json(row["settings"]),
        enabled=row["enabled"],
        registered_at=row["registered_at"],
        position=row["position"],
        secrets=tuple(SecretRow(*secret) for secret in row["secrets"]),
        initial_access_token=row["initial_access_token"],
        document=row["document"],
        document_digest=row["document_digest"],
    )


def _resource_row(row: asyncpg.Record) -> ResourceRow:
    return ResourceRow(row["identifier"], ResourceSettings.model_validate_json(row["settings"]), row["position"])
