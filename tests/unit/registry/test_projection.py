"""From events to rows: applied in order, they tell what the decider's state tells."""

from collections.abc import Iterable
from typing import Any

from services.registry.domain import application, resource
from services.registry.events import (
    ApplicationChanged,
    ApplicationDisabled,
    ApplicationEnabled,
    ApplicationUninstalled,
    ResourceChanged,
    ResourceRegistered,
    ResourceRemoved,
    ResourceSettings,
    Scope,
    SecretAdded,
    SecretReportedCompromised,
    SecretRevoked,
)
from services.registry.read_model import APPLICATIONS, RESOURCES, SECRETS, project
from shared.handle import pending
from shared.ids import new_command_id
from shared.log.append import Context
from shared.log.event import Delete, Event, Patch, Put, Stamp
from tests.unit.registry.applications import HUB, confidential, registered

CONTEXT = Context(actor="user:x", correlation_id="c", command_id=new_command_id())
Tables = dict[str, list[dict[str, Any]]]


def played(history: Iterable[Event]) -> Tables:
    """The tables after these events."""
    tables: Tables = {APPLICATIONS: [], SECRETS: [], RESOURCES: []}
    keys = {APPLICATIONS: ("client_id",), SECRETS: ("client_id", "secret_id"), RESOURCES: ("resource_id",)}

    def matching(table: str, where: Any) -> list[dict[str, Any]]:
        return [row for row in tables[table] if all(row[name] == value for name, value in where.items())]

    for version, event in enumerate(history, start=1):
        for change in project(pending(event, "stream", version, CONTEXT)):
            match change:
                case Put(table, row):
                    for old in matching(table, {name: row[name] for name in keys[table]}):
                        tables[table].remove(old)
                    tables[table].append(dict(row))
                case Patch(table, where, values):
                    for old in matching(table, where):
                        old.update(values)
                case Delete(table, where):
                    for old in matching(table, where):
                        tables[table].remove(old)
    return tables


def secret(number: int) -> SecretAdded:
    return SecretAdded(client_id=HUB, secret_id=f"secret-{number}", secret_digest="0" * 64)


def test_a_registered_application_and_its_secret() -> None:
    tables = played(registered())
    assert tables[APPLICATIONS] == [
        {
            "client_id": HUB,
            "settings": confidential().model_dump(mode="json"),
            "enabled": True,
            "registered_at": Stamp.RECORDED_AT,
            "position": Stamp.POSITION,
        }
    ]
    assert tables[SECRETS] == [
        {"client_id": HUB, "secret_id": "secret-1", "added_at": Stamp.RECORDED_AT, "expires_at": None}
    ]


def test_no_digest_is_in_a_table() -> None:
    assert "digest" not in str(played(registered()))


def test_the_rows_follow_the_state() -> None:
    other = confidential(display_name="Hub")
    history = (
        *registered(),
        secret(2),
        secret(3),
        ApplicationChanged(client_id=HUB, settings=other, narrowed=False),
        ApplicationDisabled(client_id=HUB, reason=""),
        SecretRevoked(client_id=HUB, secret_id="secret-1"),
        SecretReportedCompromised(client_id=HUB, secret_id="secret-2"),
        ApplicationEnabled(client_id=HUB),
    )
    for length in range(1, len(history) + 1):
        state = application.decider.fold(history[:length])
        assert isinstance(state, application.Trusted)
        tables = played(history[:length])
        (row,) = tables[APPLICATIONS]
        assert (row["enabled"], row["settings"]) == (state.enabled, state.settings.model_dump(mode="json"))
        valid = {secret_id for secret_id, one in state.secrets.items() if not one.revoked}
        assert {one["secret_id"] for one in tables[SECRETS]} == valid


def test_an_uninstalled_application_leaves_no_rows() -> None:
    tables = played((*registered(), secret(2), ApplicationUninstalled(client_id=HUB)))
    assert tables == {APPLICATIONS: [], SECRETS: [], RESOURCES: []}


def test_resources() -> None:
    settings = ResourceSettings(display_name="API", scopes=(Scope(name="read", description="see"),))
    more = ResourceSettings(display_name="More", scopes=())
    came = ResourceRegistered(resource_id=resource.resource_id("urn:a"), identifier="urn:a", settings=settings)
    changed = ResourceChanged(resource_id=came.resource_id, settings=more)
    (row,) = played((came, changed))[RESOURCES]
    assert (row["identifier"], row["settings"]) == ("urn:a", more.model_dump(mode="json"))
    assert played((came, changed, ResourceRemoved(resource_id=came.resource_id)))[RESOURCES] == []
