"""Which scopes and audiences come of a request."""

from typing import Any

import pytest

from services.identity.events import Role, UserKind
from services.registry.events import GrantType
from services.token_issuer.scopes import Access, asked, narrowed, parse, permitted, roles
from shared.errors import Refusal
from tests.unit.token_issuer.world import (
    API,
    MERCH,
    PLACES,
    RESOURCES,
    application,
    resource,
    settings,
    user,
)

USERINFO, MANAGEMENT = PLACES.userinfo, PLACES.management


def ask(scope: str | None, *targets: str, with_user: bool = True, **changes: Any) -> Access:
    return asked(application(settings(**changes)), RESOURCES, scope, targets, PLACES, with_user=with_user)


def test_nothing_asked_is_all_api_scopes() -> None:
    assert ask(None) == Access(("read", "update"), (API,))


def test_protocol_scopes_need_not_be_listed() -> None:
    assert ask("openid profile read") == Access(("openid", "profile", "read"), (API, USERINFO))


def test_each_scope_once() -> None:
    assert ask("read  read").scopes == ("read",)


@pytest.mark.parametrize("scope", ["sell", "nothing", "READ", "read sec", "offline_access"])
def test_what_is_not_allowed_is_refused(scope: str) -> None:
    with pytest.raises(Refusal) as refused:
        ask(scope)
    assert refused.value.code == "invalid_scope"


@pytest.mark.parametrize("scope", ['re"ad', "re\\ad", "read\tupdate", "ré", "x" * 65, " ".join(map(str, range(101)))])
def test_what_is_no_scope_is_refused(scope: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse(scope)
    assert refused.value.code == "invalid_scope"


def test_offline_access_without_the_grant_is_ignored() -> None:
    assert ask("read offline_access", grants=(GrantType.AUTHORIZATION_CODE,)).scopes == ("read",)
    assert ask("read offline_access").scopes == ("read", "offline_access")


@pytest.mark.parametrize("scope", ["openid", "read profile", "read offline_access"])
def test_without_a_user_there_are_no_protocol_scopes(scope: str) -> None:
    with pytest.raises(Refusal) as refused:
        ask(scope, with_user=False)
    assert refused.value.code == "invalid_scope"


def test_a_scope_whose_resource_is_gone_is_not_issued() -> None:
    with pytest.raises(Refusal):
        asked(application(), (), None, (), PLACES, with_user=True)


def test_a_resource_that_is_asked_for_narrows() -> None:
    both: dict[str, Any] = {"scopes": ("read", "sell")}
    assert ask(None, **both).audiences == (API, MERCH)
    assert ask(None, MERCH, **both) == Access(("sell",), (MERCH,))
    assert ask("openid sell", MERCH, **both) == Access(("openid", "sell"), (MERCH, USERINFO))


@pytest.mark.parametrize(
    ("scope", "target", "code"),
    [
        (None, "https://unknown.example", "invalid_target"),
        ("openid", API, "invalid_target"),
        ("read", MERCH, "invalid_scope"),
        ("read", USERINFO, "invalid_scope"),
    ],
)
def test_a_resource_that_does_not_fit_is_refused(scope: str | None, target: str, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        ask(scope, target)
    assert refused.value.code == code


COMMUNITY = user(UserKind.COMMUNITY)
ALL = Access(("openid", "read", "offline_access"), (API, USERINFO))
OPEN_API = (resource(API, "read", "update", community=True),)


def test_a_community_user_gets_userinfo_only() -> None:
    left = permitted(ALL, application(), RESOURCES, COMMUNITY, PLACES)
    assert left == Access(("openid", "offline_access"), (USERINFO,))


def test_unless_application_and_resource_both_admit_them() -> None:
    assert permitted(ALL, application(), OPEN_API, COMMUNITY, PLACES) == ALL
    internal = application(settings(user_kinds=(UserKind.INTERNAL,)))
    assert permitted(ALL, internal, OPEN_API, COMMUNITY, PLACES).audiences == (USERINFO,)


def test_what_the_application_has_lost_is_gone() -> None:
    less = application(settings(scopes=("update",), grants=(GrantType.AUTHORIZATION_CODE,)))
    assert permitted(ALL, less, RESOURCES, user(), PLACES) == Access(("openid",), (USERINFO,))


def test_a_resource_that_takes_over_a_scope_does_not_get_the_grant() -> None:
    moved = (resource(MERCH, "read"),)
    assert permitted(ALL, application(), moved, user(), PLACES).audiences == (USERINFO,)


SEC = Access(("sec", "read"), (MANAGEMENT, API))


@pytest.mark.parametrize("role", list(Role))
def test_management_is_for_administrators_and_auditors(role: Role) -> None:
    manager = application(settings(scopes=("sec", "read")))
    assert permitted(SEC, manager, RESOURCES, user(UserKind.INTERNAL, role), PLACES) == SEC
    assert permitted(SEC, manager, RESOURCES, user(), PLACES) == Access(("read",), (API,))
    assert permitted(SEC, manager, RESOURCES, None, PLACES) == Access(("read",), (API,))


def test_roles_are_told_to_management_only() -> None:
    brian = user(UserKind.INTERNAL, Role.ADMINISTRATOR)
    assert roles((MANAGEMENT,), brian, PLACES) == ("administrator",)
    assert roles((API,), brian, PLACES) == ()
    assert roles((MANAGEMENT,), None, PLACES) == ()


GRANT = Access(("openid", "read", "sell", "offline_access"), (API, MERCH, USERINFO))


def part(scope: str | None, *targets: str) -> Access:
    return narrowed(GRANT, RESOURCES, scope, targets, PLACES)


def test_a_part_of_a_grant() -> None:
    assert part(None) == GRANT
    assert part("read") == Access(("read",), (API,))
    assert part(None, MERCH) == Access(("sell", "offline_access"), (MERCH,))
    assert part(None, USERINFO) == Access(("openid", "offline_access"), (USERINFO,))


@pytest.mark.parametrize(
    ("scope", "targets", "code"),
    [
        ("update", (), "invalid_scope"),
        ("read", (MERCH,), "invalid_scope"),
        (None, (MANAGEMENT,), "invalid_target"),
        ("offline_access", (), "invalid_scope"),
    ],
)
def test_more_than_the_grant_is_refused(scope: str | None, targets: tuple[str, ...], code: str) -> None:
    with pytest.raises(Refusal) as refused:
        part(scope, *targets)
    assert refused.value.code == code
