"""Resources and their scopes: one owner for each, whoever else asks."""

from typing import Any

import pytest

from services.registry.domain.resource import Change, Register, RegisterManagement, Remove, decider, resource_id
from services.registry.events import ResourceChanged, ResourceRegistered, ResourceRemoved, ResourceSettings, Scope
from tests.support.decider import given

ISSUER = "http://127.0.0.1:8400/id"
API = "http://127.0.0.1:8400/api"
MANAGEMENT = "http://127.0.0.1:8400/management"
READ = Scope(name="read", description="see your tours and merchandise")
UPDATE = Scope(name="update", description="change your tours and merchandise")
SEC = Scope(name="sec", description="manage this instance")


def settings(*scopes: Scope, **changes: Any) -> ResourceSettings:
    return ResourceSettings.model_validate({"display_name": "Tours", "scopes": scopes or (READ, UPDATE), **changes})


def register(identifier: str, wanted: ResourceSettings) -> Register:
    return Register(identifier, wanted, ISSUER)


def registered(identifier: str, wanted: ResourceSettings) -> ResourceRegistered:
    return ResourceRegistered(resource_id=resource_id(identifier), identifier=identifier, settings=wanted)


def changed(identifier: str, wanted: ResourceSettings) -> ResourceChanged:
    return ResourceChanged(resource_id=resource_id(identifier), settings=wanted)


def removed(identifier: str) -> ResourceRemoved:
    return ResourceRemoved(resource_id=resource_id(identifier))


@pytest.mark.parametrize("identifier", [API, "https://api.example", "https://api.example/v1?x=1", "urn:example:tours"])
def test_a_resource_is_registered(identifier: str) -> None:
    given(decider).when(register(identifier, settings())).then(registered(identifier, settings()))


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "api",
        "/api",
        "https://api.example/#x",
        "https://me@api.example/",
        "https://",
        "https://api.example/ x",
        "urn:",
    ],
)
def test_an_identifier_is_an_absolute_uri_without_fragment(identifier: str) -> None:
    given(decider).when(register(identifier, settings())).refused("invalid_target")


@pytest.mark.parametrize("identifier", [ISSUER, f"{ISSUER}/connect/userinfo"])
def test_what_is_below_the_issuer_is_its_own(identifier: str) -> None:
    given(decider).when(register(identifier, settings())).refused("invalid_target", "issuer")


def test_an_identifier_names_one_resource() -> None:
    given(decider, registered(API, settings())).when(register(API, settings())).refused("identifier_taken")


def test_a_scope_belongs_to_one_resource() -> None:
    api = given(decider, registered(API, settings(READ)))
    api.when(register("urn:other", settings(READ))).refused("scope_taken", API)
    other = api.when(register("urn:other", settings(UPDATE))).then(registered("urn:other", settings(UPDATE)))
    other.when(Change("urn:other", {"scopes": (UPDATE, READ)})).refused("scope_taken", API)


def test_a_scope_can_be_given_up_and_taken_back_or_taken_by_another() -> None:
    api = given(decider, registered(API, settings()))
    less = api.when(Change(API, {"scopes": (READ,)})).then(changed(API, settings(READ)))
    less.when(Change(API, {"scopes": (READ, UPDATE)})).then(changed(API, settings()))
    less.when(register("urn:other", settings(UPDATE))).then(registered("urn:other", settings(UPDATE)))


def test_a_removed_resource_makes_way() -> None:
    gone = given(decider, registered(API, settings())).when(Remove(API)).then(removed(API))
    gone.when(Remove(API)).refused("resource_not_found")
    gone.when(Change(API, {})).refused("resource_not_found")
    gone.when(register(API, settings())).then(registered(API, settings()))


def test_a_change_touches_only_what_it_names() -> None:
    api = given(decider, registered(API, settings()))
    api.when(Change(API, {"admits_community_users": True})).then(changed(API, settings(admits_community_users=True)))
    api.when(Change(API, {"display_name": "Tours"})).then_nothing()


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (settings(display_name=""), "invalid_client_metadata"),
        (settings(Scope(name="openid", description="x")), "invalid_scope"),
        (settings(Scope(name="a b", description="x")), "invalid_scope"),
        (settings(Scope(name="a", description="")), "invalid_client_metadata"),
        (settings(Scope(name="a", description="x\u202ey")), "invalid_client_metadata"),
        (settings(READ, READ), "invalid_client_metadata"),
        (settings(callers=("anyone",)), "invalid_client_metadata"),
        (settings(callers=("resource/a", "resource/a")), "invalid_client_metadata"),
        (settings(SEC), "invalid_scope"),
    ],
)
def test_broken_rules(wanted: ResourceSettings, code: str) -> None:
    given(decider).when(register(API, wanted)).refused(code)
    given(decider, registered(API, settings())).when(Change(API, dict(wanted))).refused(code)


def test_who_may_ask_about_its_tokens() -> None:
    callers = ("client:com.example/app", "resource/stagehands", "service/resource", "operator")
    given(decider).when(register(API, settings(callers=callers))).then(registered(API, settings(callers=callers)))


def test_management_is_registered_once_and_follows_the_origin() -> None:
    here = RegisterManagement(MANAGEMENT, settings(SEC))
    one = given(decider).when(here).then(registered(MANAGEMENT, settings(SEC)))
    one.when(here).then_nothing()
    moved = RegisterManagement("https://localhost:8443/management", settings(SEC))
    one.when(moved).then(removed(MANAGEMENT), registered("https://localhost:8443/management", settings(SEC)))


def test_management_stays() -> None:
    one = given(decider, registered(MANAGEMENT, settings(SEC)))
    one.when(Remove(MANAGEMENT)).refused("system_resource")
    one.when(Change(MANAGEMENT, {"scopes": (READ,)})).refused("system_resource")
    one.when(Change(MANAGEMENT, {"display_name": "Management"})).then(
        changed(MANAGEMENT, settings(SEC, display_name="Management"))
    )
    one.when(register(API, settings(SEC))).refused("invalid_scope")
