from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from protos.stagedoor.identity.v1 import identity_pb2 as pb
from services.identity.events import (
    Role,
    RolesChanged,
    SessionEnded,
    SessionEndReason,
    UserDisabled,
    UserKind,
    UserRegistered,
)
from services.identity.rpc import RULES
from shared.errors import Kind
from tests.integration.identity.management import Operator, operating
from tests.support.fake_issuer import CLIENT
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in
from tests.support.parties import Parties
from tests.support.second_factor import freddie_with

FREDDIE = pb.RegisterUserRequest(
    user_name="Freddie", profile=pb.Profile(display_name="Freddie", email="f@example.com"), password=PASSWORD
)
KEY = pb.UserKey(user_name="freddie")


@pytest.fixture
async def operator(identity: Identity, parties: Parties) -> AsyncIterator[Operator]:
    async with operating(identity, parties) as operator:
        yield operator


async def test_a_user_is_registered_and_signs_in(identity: Identity, operator: Operator) -> None:
    answer = await operator("RegisterUser", FREDDIE)
    assert (await sign_in(identity.browser())).path == "/id/consent"
    user = (await operator("GetUser", pb.GetUserRequest(user=KEY, minimum_position=answer.position))).user
    assert (user.sub, user.user_name, user.kind, user.enabled) == (answer.sub, "freddie", "internal", True)
    assert (user.profile.display_name, user.profile.email) == ("Freddie", "f@example.com")
    assert user.position == answer.position
    (fact,) = await identity.facts("UserRegistered")
    assert isinstance(fact.event, UserRegistered)
    assert fact.actor == "user:brian-sub"
    assert len(answer.sub) == 22


async def test_what_is_personal_is_ciphertext_in_the_log(identity: Identity, operator: Operator) -> None:
    await operator("RegisterUser", FREDDIE)
    for row in await identity.log.read_rows(identity.began, limit=100):
        text = f"{row.data} {row.stream} {row.actor}".lower()
        assert "freddie" not in text
        assert "example.com" not in text
        assert PASSWORD not in text


async def test_without_the_key_nothing_personal_can_be_read(identity: Identity, operator: Operator) -> None:
    sub = (await operator("RegisterUser", FREDDIE)).sub
    await identity.log.pool.execute("DELETE FROM personal_keys WHERE sub = $1", sub)
    stream = await identity.log.load(f"user-{sub}")
    registered = stream.events[0].event
    assert isinstance(registered, UserRegistered)
    assert registered.user_name.reveal() is None
    assert registered.profile.email is not None
    assert registered.profile.email.reveal() is None


async def test_a_name_is_taken_once_and_for_ever(operator: Operator) -> None:
    await operator("RegisterUser", FREDDIE)
    refusal = await operator.refused("RegisterUser", pb.RegisterUserRequest(user_name="FREDDIE "))
    assert (refusal.kind, refusal.code) == (Kind.ALREADY_EXISTS, "name_taken")


async def test_a_repeated_command_is_done_once(identity: Identity, operator: Operator) -> None:
    key = str(uuid4())
    first = await operator("RegisterUser", FREDDIE, key=key)
    again = await operator("RegisterUser", FREDDIE, key=key)
    assert (again.sub, again.position) == (first.sub, first.position)
    assert len(await identity.facts("UserRegistered")) == 1
    other = pb.RegisterUserRequest(user_name="brian")
    assert (await operator.refused("RegisterUser", other, key=key)).code == "idempotency_key_reused"
    disable, key = pb.DisableUserRequest(user=KEY), str(uuid4())
    first = await operator("DisableUser", disable, key=key)
    assert (await operator("DisableUser", disable, key=key)).position == first.position
    assert (await operator.refused("EnableUser", pb.EnableUserRequest(user=KEY), key=key)).kind is Kind.CONFLICT


async def test_what_is_refused(identity: Identity, operator: Operator) -> None:
    for request, code in (
        (pb.RegisterUserRequest(user_name=""), "invalid_user_name"),
        (pb.RegisterUserRequest(user_name="x", kind="king"), "invalid_kind"),
        (pb.RegisterUserRequest(user_name="x", roles=["king"]), "invalid_roles"),
        (pb.RegisterUserRequest(user_name="x", kind="community", roles=["auditor"]), "invalid_roles"),
        (pb.RegisterUserRequest(user_name="x", password="short"), "invalid_password"),
        (pb.RegisterUserRequest(user_name="longenough", password="LongEnough"), "invalid_password"),
        (pb.RegisterUserRequest(user_name="x", profile=pb.Profile(email="nowhere")), "invalid_profile"),
    ):
        assert (await operator.refused("RegisterUser", request)).code == code
    assert await identity.facts() == []


async def test_attributes_and_roles_are_changed_as_the_mask_says(identity: Identity, operator: Operator) -> None:
    await operator("RegisterUser", FREDDIE)
    change = pb.ChangeUserRequest(
        user=KEY,
        profile=pb.Profile(given_name="Farrokh", email="ignored@example.com"),
        roles=["auditor"],
        mask=FieldMask(paths=["profile.given_name", "profile.display_name", "roles"]),
    )
    answer = await operator("ChangeUser", change)
    assert answer.user.profile == pb.Profile(given_name="Farrokh", email="f@example.com")
    assert list(answer.user.roles) == ["auditor"]
    assert answer.user.position == answer.position
    nothing = await operator("ChangeUser", change)
    assert nothing.position == answer.position

    change = pb.ChangeUserRequest(user=KEY, mask=FieldMask(paths=["roles"]))
    await operator("ChangeUser", change)
    last = (await identity.facts("RolesChanged"))[-1].event
    assert isinstance(last, RolesChanged)
    assert [role.value for role in last.removed] == ["auditor"]


async def test_an_address_that_changes_has_to_be_verified_again(operator: Operator) -> None:
    verified = pb.Profile(email="f@example.com", email_verified=True)
    await operator("RegisterUser", pb.RegisterUserRequest(user_name="freddie", profile=verified))
    other = pb.ChangeUserRequest(
        user=KEY, profile=pb.Profile(email="new@example.com"), mask=FieldMask(paths=["profile.email"])
    )
    assert not (await operator("ChangeUser", other)).user.profile.email_verified


async def test_a_telephone_number_too_and_the_rest_stays(operator: Operator) -> None:
    known = pb.Profile(
        email="f@example.com",
        email_verified=True,
        phone_number="+442079460958",
        phone_number_verified=True,
        country="GB",
    )
    await operator("RegisterUser", pb.RegisterUserRequest(user_name="freddie", profile=known))
    other = pb.ChangeUserRequest(
        user=KEY, profile=pb.Profile(phone_number="+442079460959"), mask=FieldMask(paths=["profile.phone_number"])
    )
    profile = (await operator("ChangeUser", other)).user.profile
    assert profile == pb.Profile(email="f@example.com", email_verified=True, phone_number="+442079460959", country="GB")


async def test_masks_that_are_refused(operator: Operator) -> None:
    await operator("RegisterUser", FREDDIE)
    for path in ("", "password", "profile.sub", "sub"):
        change = pb.ChangeUserRequest(user=KEY, mask=FieldMask(paths=[path] if path else []))
        assert (await operator.refused("ChangeUser", change)).code == "invalid_mask"


async def test_a_disabled_user_cannot_sign_in_until_enabled(identity: Identity, operator: Operator) -> None:
    await operator("RegisterUser", FREDDIE)
    await operator("DisableUser", pb.DisableUserRequest(user=KEY, reason="left"))
    (fact,) = await identity.facts("UserDisabled")
    assert isinstance(fact.event, UserDisabled)
    assert fact.event.reason == "left"
    assert (await sign_in(identity.browser())).status == 422
    assert not (await operator("GetUser", pb.GetUserRequest(user=KEY))).user.enabled
    await operator("EnableUser", pb.EnableUserRequest(user=KEY))
    assert (await sign_in(identity.browser())).path == "/id/consent"


async def test_administrators_do_not_lock_themselves_out(operator: Operator, identity: Identity) -> None:
    sub = await identity.register("brian", PASSWORD, UserKind.INTERNAL, Role.ADMINISTRATOR)
    operator.tokens.roles[sub] = frozenset({"administrator"})
    key = pb.UserKey(sub=sub)
    change = pb.ChangeUserRequest(user=key, mask=FieldMask(paths=["roles"]))
    assert (await operator.refused("ChangeUser", change, person=sub)).code == "own_role"
    assert (await operator.refused("DisableUser", pb.DisableUserRequest(user=key), person=sub)).code == "own_account"
    assert (await operator("ChangeUser", change)).user.roles == []


async def test_a_password_is_reset_or_set_for_the_first_time(identity: Identity, operator: Operator) -> None:
    await operator("RegisterUser", pb.RegisterUserRequest(user_name="freddie"))
    assert (await sign_in(identity.browser())).status == 422
    await operator("ResetPassword", pb.ResetPasswordRequest(user=KEY, password=PASSWORD))
    assert len(await identity.facts("PasswordSet")) == 1
    browser = identity.browser()
    assert (await sign_in(browser)).path == "/id/consent"
    await operator("ResetPassword", pb.ResetPasswordRequest(user=KEY, password="another-password"))
    assert len(await identity.facts("PasswordReset")) == 1
    assert (await browser.get("/id/account")).path == "/id/signin"
    weak = pb.ResetPasswordRequest(user=KEY, password="short")
    assert (await operator.refused("ResetPassword", weak)).code == "invalid_password"


async def test_a_second_factor_is_shown_and_reset(identity: Identity, operator: Operator) -> None:
    browser, telephone = await freddie_with(identity)
    assert (await operator("GetUser", pb.GetUserRequest(user=KEY))).user.second_factors == ["totp"]
    assert [one.second_factors for one in (await operator("ListUsers", pb.ListUsersRequest())).users] == [["totp"]]
    reset = pb.ResetSecondFactorRequest(user=KEY)
    assert (await operator("ResetSecondFactor", reset)).position > 0
    assert (await operator("GetUser", pb.GetUserRequest(user=KEY))).user.second_factors == []
    assert (await browser.get("/id/account")).path == "/id/signin"
    assert (await operator.refused("ResetSecondFactor", reset)).code == "no_second_factor"
    unknown = pb.ResetSecondFactorRequest(user=pb.UserKey(user_name="nobody"))
    assert (await operator.refused("ResetSecondFactor", unknown)).code == "unknown_user"
    page = await sign_in(identity.browser())
    assert "code" in page.answer
    assert telephone.code() not in page.text


async def test_sessions_are_listed_and_ended(identity: Identity, operator: Operator) -> None:
    await operator("RegisterUser", FREDDIE)
    browser = identity.browser()
    await sign_in(browser)
    await sign_in(identity.browser())
    sessions = (await operator("ListSessions", pb.ListSessionsRequest(user=KEY))).sessions
    assert len(sessions) == 2
    assert all(session.amr == ["pwd"] and "python-httpx" in session.user_agent for session in sessions)
    for session in sessions:
        await operator("EndSession", pb.EndSessionRequest(sid=session.sid))
    assert (await browser.get("/id/account")).path == "/id/signin"
    ended = [one.event for one in await identity.facts("SessionEnded")]
    assert all(isinstance(one, SessionEnded) and one.reason is SessionEndReason.ENDED_BY_ADMINISTRATOR for one in ended)
    assert list((await operator("ListSessions", pb.ListSessionsRequest(user=KEY))).sessions) == []
    for sid in ("nobody", "x" * 22, ""):
        assert (await operator.refused("EndSession", pb.EndSessionRequest(sid=sid))).code == "unknown_session"


async def test_a_consent_is_withdrawn(identity: Identity, operator: Operator) -> None:
    await operator("RegisterUser", FREDDIE)
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    await operator("WithdrawConsent", pb.WithdrawConsentRequest(user=KEY, client_id=CLIENT))
    assert len(await identity.facts("ConsentWithdrawn")) == 1
    assert (await browser.get(authorization())).path == "/id/consent"


async def test_users_are_listed_page_by_page(operator: Operator) -> None:
    names = [f"user-{number:02}" for number in range(7)] + ["ümlaut", "zoë"]
    for name in names:
        await operator("RegisterUser", pb.RegisterUserRequest(user_name=name))
    found: list[str] = []
    token = ""
    for _ in range(4):
        page = await operator("ListUsers", pb.ListUsersRequest(page_size=3, page_token=token))
        found += [user.user_name for user in page.users]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(names)
    assert token == ""
    assert (await operator.refused("ListUsers", pb.ListUsersRequest(page_token="?"))).code == "invalid_page"
    assert (await operator.refused("ListUsers", pb.ListUsersRequest(page_size=-1))).code == "invalid_page"


@pytest.mark.parametrize("key", [pb.UserKey(), pb.UserKey(sub="a", user_name="b")])
async def test_a_user_is_named_in_one_way(operator: Operator, key: pb.UserKey) -> None:
    assert (await operator.refused("GetUser", pb.GetUserRequest(user=key))).code == "invalid_user"


async def test_a_position_that_never_was_is_not_waited_for(operator: Operator) -> None:
    await operator("RegisterUser", FREDDIE)
    refusal = await operator.refused("GetUser", pb.GetUserRequest(user=KEY, minimum_position=10**12))
    assert refusal.kind is Kind.UNAVAILABLE


class TestWhoMay:
    def test_every_method_has_a_rule(self) -> None:
        methods = [method.name for method in pb.DESCRIPTOR.services_by_name["Identity"].methods]
        assert sorted(name.rpartition("/")[2] for name in RULES) == sorted(methods)
        without = [name for name, rule in RULES.items() if rule.role is None]
        assert without == ["/stagedoor.identity.v1.Identity/Bootstrap"]

    @pytest.mark.parametrize(
        ("person", "kind"), [("", Kind.UNAUTHENTICATED), ("thief", Kind.UNAUTHENTICATED), ("fan", Kind.FORBIDDEN)]
    )
    async def test_only_administrators(self, operator: Operator, person: str, kind: Kind) -> None:
        for method, request in (("RegisterUser", FREDDIE), ("ListUsers", pb.ListUsersRequest())):
            assert (await operator.refused(method, request, person=person)).kind is kind

    async def test_auditors_read_the_log_and_not_the_people(self, operator: Operator) -> None:
        refusal = await operator.refused("ListUsers", pb.ListUsersRequest(), person="auditor")
        assert refusal.kind is Kind.FORBIDDEN

    async def test_only_operators(self, identity: Identity, parties: Parties) -> None:
        for tls in (parties.service("resource"), parties.service("token_issuer"), parties.resource("stagehands")):
            async with operating(identity, parties, tls) as other:
                assert (await other.refused("ListUsers", pb.ListUsersRequest())).code == "caller_not_allowed"
