"""The resources: which APIs accept tokens, and which scopes belong to which.

"A scope belongs to one resource" is a rule between resources, so all of them are one aggregate with one stream:
whoever adds a scope has seen all the others, and two who add the same one at once meet in the version check of the
append. Taking scope names for ever, as client_ids are taken, would be as safe, but then a scope could not follow
its API to another address. There are few resources and they change seldom, so sharing a stream costs nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from services.registry.domain.refusals import invalid
from services.registry.domain.text import check_distinct, check_scope, check_text
from services.registry.domain.uris import identifier_fault
from services.registry.events import ResourceChanged, ResourceRegistered, ResourceRemoved, ResourceSettings
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.ids import digest
from shared.log.event import Event

CATALOGUE = "catalogue"
"""The id of the one aggregate."""

MANAGEMENT_SCOPE = "sec"
"""Whose resource is the management of the system itself; without it nobody could manage anything any more."""

_CALLER = re.compile(r"client:[a-z0-9./-]{3,128}|(?:resource|service)/[a-z0-9][a-z0-9._-]{0,62}|operator")


# Commands


@dataclass(frozen=True, slots=True)
class Register:
    """Let tokens be issued for an API from now on."""

    identifier: str
    settings: ResourceSettings
    issuer: str
    """This system's own, below which identifiers belong to the issuer."""


@dataclass(frozen=True, slots=True)
class RegisterManagement:
    """Let the management of the system be at `identifier`, wherever it was before."""

    identifier: str
    settings: ResourceSettings


@dataclass(frozen=True, slots=True)
class Change:
    """Replace single settings; the others stay as they are when it is decided."""

    identifier: str
    changes: Mapping[str, Any]
    """Settings by the names of `ResourceSettings`."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Let no token be issued for it any more."""

    identifier: str


Command = Register | RegisterManagement | Change | Remove


# State


@dataclass(frozen=True, slots=True)
class Resource:
    """An API as it is registered."""

    resource_id: str
    identifier: str
    settings: ResourceSettings

    @property
    def scopes(self) -> frozenset[str]:
        """The names of its scopes."""
        return frozenset(scope.name for scope in self.settings.scopes)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All resources there are."""

    by_id: Mapping[str, Resource] = field(default_factory=dict)

    def at(self, identifier: str) -> Resource:
        """The resource with this identifier; refuses where there is none."""
        resource = self.by_id.get(resource_id(identifier))
        if resource is None:
            raise not_found()
        return resource

    def owner(self, scope: str) -> Resource | None:
        """The resource that a scope belongs to."""
        return next((resource for resource in self.by_id.values() if scope in resource.scopes), None)


def resource_id(identifier: str) -> str:
    """The id of the resource with this identifier: a digest of it, since the identifier itself can be long."""
    return digest(identifier)[:32]


def not_found() -> Refusal:
    """Nobody registered it, or it was removed."""
    return Refusal(Kind.NOT_FOUND, "resource_not_found", "there is no such resource")


# Rules


def decide(command: Command, state: Catalogue) -> Sequence[Event]:
    """What happens when `command` meets `state`, or the refusal."""
    match command:
        case Register():
            return _register(command, state)
        case RegisterManagement():
            return _register_management(command, state)
        case Change():
            return _change(command, state.at(command.identifier), state)
        case Remove():
            return _remove(state.at(command.identifier))
        case _:
            assert_never(command)


def _register(command: Register, state: Catalogue) -> Sequence[Event]:
    _check_identifier(command.identifier, state)
    if command.identifier == command.issuer or command.identifier.startswith(command.issuer + "/"):
        raise invalid("identifiers below the issuer belong to the issuer", "invalid_target")
    _check_settings(command.settings, None, state)
    return (_registered(command),)


def _register_management(command: RegisterManagement, state: Catalogue) -> Sequence[Event]:
    """The origin of the system can move; the one resource of before then makes way for that of now."""
    before = state.owner(MANAGEMENT_SCOPE)
    if before is not None and before.identifier == command.identifier:
        return ()
    _check_identifier(command.identifier, state)
    if before is None:
        return (_registered(command),)
    return ResourceRemoved(resource_id=before.resource_id), _registered(command)


def _change(command: Change, resource: Resource, state: Catalogue) -> Sequence[Event]:
    settings = ResourceSettings.model_validate({**dict(resource.settings), **command.changes})
    if settings == resource.settings:
        return ()
    _check_settings(settings, resource, state)
    if MANAGEMENT_SCOPE in resource.scopes and all(scope.name != MANAGEMENT_SCOPE for scope in settings.scopes):
        raise _system_resource()
    return (ResourceChanged(resource_id=resource.resource_id, settings=settings),)


def _remove(resource: Resource) -> Sequence[Event]:
    if MANAGEMENT_SCOPE in resource.scopes:
        raise _system_resource()
    return (ResourceRemoved(resource_id=resource.resource_id),)


def _check_identifier(identifier: str, state: Catalogue) -> None:
    if fault := identifier_fault(identifier):
        raise invalid(f"the identifier {fault}", "invalid_target")
    if resource_id(identifier) in state.by_id:
        raise Refusal(Kind.ALREADY_EXISTS, "identifier_taken", "a resource with this identifier is registered")


def _check_settings(settings: ResourceSettings, resource: Resource | None, state: Catalogue) -> None:
    check_text(settings.display_name, "the display name")
    check_distinct(tuple(scope.name for scope in settings.scopes), "scopes", most=100)
    for scope in settings.scopes:
        check_scope(scope.name)
        check_text(scope.description, f"the description of {scope.name}", longest=200)
        owner = state.owner(scope.name)
        if scope.name == MANAGEMENT_SCOPE and (resource is None or owner != resource):
            raise invalid(f"{scope.name} is the scope of the system's own management", "invalid_scope")
        if owner is not None and owner != resource:
            raise Refusal(
                Kind.ALREADY_EXISTS, "scope_taken", f"the scope {scope.name} belongs to {owner.identifier} already"
            )
    check_distinct(settings.callers, "callers", most=100)
    if not all(_CALLER.fullmatch(caller) for caller in settings.callers):
        raise invalid("a caller is client:<client_id>, resource/<name>, service/<name> or operator")


def _registered(command: Register | RegisterManagement) -> ResourceRegistered:
    return ResourceRegistered(
        resource_id=resource_id(command.identifier), identifier=command.identifier, settings=command.settings
    )


def _system_resource() -> Refusal:
    return Refusal(Kind.PRECONDITION, "system_resource", "this resource is part of the system")


# History


def evolve(state: Catalogue, event: Event) -> Catalogue:
    """The catalogue after a fact."""
    match event:
        case ResourceRegistered():
            return _with(state, Resource(event.resource_id, event.identifier, event.settings))
        case ResourceChanged():
            return _with(state, replace(state.by_id[event.resource_id], settings=event.settings))
        case ResourceRemoved():
            return Catalogue({id_: resource for id_, resource in state.by_id.items() if id_ != event.resource_id})
        case _:
            return state


def _with(state: Catalogue, resource: Resource) -> Catalogue:
    return Catalogue({**state.by_id, resource.resource_id: resource})


decider: Decider[Command, Catalogue] = Decider("resource", Catalogue(), decide, evolve)
