from dataclasses import replace

import pytest

from services.identity.domain.user import (
    PASSKEYS,
    USER,
    AddPasskey,
    AddSecondFactor,
    ChangePassword,
    ChangeUser,
    Command,
    DisableUser,
    EnableUser,
    EraseUser,
    RegisterUser,
    RemovePasskey,
    RemoveSecondFactor,
    ReplaceRecoveryCodes,
    ResetPassword,
    ResetSecondFactor,
)
from services.identity.events import (
    PasskeyAdded,
    PasskeyRemoved,
    PasswordChanged,
    PasswordReset,
    PasswordSet,
    Profile,
    ProfileChanged,
    RecoveryCodesReplaced,
    Role,
    RolesChanged,
    SecondFactorAdded,
    SecondFactorKind,
    SecondFactorRemoved,
    SecondFactorReset,
    UserDisabled,
    UserEnabled,
    UserErased,
    UserKind,
    UserRegistered,
)
from shared.log.event import Personal
from tests.support.decider import given

SUB = "freddie-sub-0123456789"
PROFILE = Profile(
    display_name=Personal("Freddie"),
    email=Personal("freddie@example.com"),
    email_verified=True,
    locale=Personal("en-GB"),
    zoneinfo=Personal("Europe/London"),
)
REGISTER = RegisterUser(SUB, "Freddie", UserKind.INTERNAL, PROFILE, (), with_password=True)


def registered(kind: UserKind = UserKind.INTERNAL, *roles: Role) -> UserRegistered:
    return UserRegistered(sub=SUB, user_name=Personal("freddie"), kind=kind, profile=PROFILE, roles=roles)


FREDDIE = registered()
PASSWORD = PasswordSet(sub=SUB)


def test_a_user_is_registered_under_the_normalised_name_and_with_a_password() -> None:
    assert given(USER).when(REGISTER).events == (FREDDIE, PASSWORD)


def test_without_a_password_none_is_set() -> None:
    assert given(USER).when(replace(REGISTER, with_password=False)).events == (FREDDIE,)


def test_a_user_is_registered_once() -> None:
    given(USER, FREDDIE).when(REGISTER).refused("user_exists")


@pytest.mark.parametrize("name", ["", "   ", "two words", "tab\there", "a" * 65, "null\0", "join\u200der", "x" * 300])
def test_names_that_are_refused(name: str) -> None:
    given(USER).when(replace(REGISTER, user_name=name)).refused("invalid_user_name")


def test_a_service_user_has_no_password() -> None:
    given(USER).when(replace(REGISTER, kind=UserKind.SERVICE)).refused("service_user")
    given(USER, registered(UserKind.SERVICE)).when(ResetPassword()).refused("service_user")


@pytest.mark.parametrize("kind", [UserKind.COMMUNITY, UserKind.SERVICE])
def test_only_internal_users_have_roles(kind: UserKind) -> None:
    command = replace(REGISTER, kind=kind, with_password=False, roles=(Role.AUDITOR,))
    given(USER).when(command).refused("invalid_roles")
    given(USER, registered(kind)).when(ChangeUser("brian", roles=(Role.AUDITOR,))).refused("invalid_roles")


@pytest.mark.parametrize(
    "profile",
    [
        Profile(display_name=Personal("")),
        Profile(display_name=Personal(" padded ")),
        Profile(given_name=Personal("a" * 257)),
        Profile(given_name=Personal("two\nlines")),
        Profile(email=Personal("not an address")),
        Profile(email=Personal("a@b@c")),
        Profile(locale=Personal("en_GB")),
        Profile(zoneinfo=Personal("Europe/../London")),
        Profile(email_verified=True),
        Profile(phone_number_verified=True),
        Profile(phone_number=Personal("020 7946 0958")),
        Profile(phone_number=Personal("+0123456789")),
        Profile(phone_number=Personal("+442079460958;isub=1")),
        Profile(street_address=Personal("1 Logan Place\r\nLondon")),
        Profile(locality=Personal("London\nEngland")),
    ],
)
def test_attributes_that_are_refused(profile: Profile) -> None:
    given(USER).when(replace(REGISTER, profile=profile)).refused("invalid_profile")
    given(USER, FREDDIE).when(ChangeUser("brian", profile=profile)).refused("invalid_profile")


def test_where_a_person_lives_and_is_called() -> None:
    there = Profile(
        phone_number=Personal("+442079460958;ext=7"),
        phone_number_verified=True,
        street_address=Personal("Garden Lodge\n1 Logan Place"),
        country=Personal("GB"),
    )
    changed = given(USER, FREDDIE).when(ChangeUser("brian", profile=there))
    assert changed.events == (ProfileChanged(sub=SUB, profile=there),)


def test_attributes_change() -> None:
    other = Profile(display_name=Personal("Farrokh"))
    changed = given(USER, FREDDIE).when(ChangeUser("brian", profile=other))
    assert changed.events == (ProfileChanged(sub=SUB, profile=other),)


def test_the_same_attributes_and_roles_are_nothing_new() -> None:
    same = Profile(
        display_name=Personal("Freddie"),
        email=Personal("freddie@example.com"),
        email_verified=True,
        locale=Personal("en-GB"),
        zoneinfo=Personal("Europe/London"),
    )
    given(USER, FREDDIE).when(ChangeUser("brian", profile=same, roles=())).then_nothing()


def test_roles_change_and_say_which_were_removed() -> None:
    both = (Role.ADMINISTRATOR, Role.AUDITOR)
    given(USER, FREDDIE).when(ChangeUser("brian", roles=(Role.AUDITOR, Role.ADMINISTRATOR))).then(
        RolesChanged(sub=SUB, roles=both, removed=())
    ).when(ChangeUser("brian", roles=(Role.AUDITOR,))).then(
        RolesChanged(sub=SUB, roles=(Role.AUDITOR,), removed=(Role.ADMINISTRATOR,))
    )


def test_nobody_locks_themselves_out() -> None:
    administrator = registered(UserKind.INTERNAL, Role.ADMINISTRATOR)
    given(USER, administrator).when(ChangeUser(SUB, roles=())).refused("own_role")
    given(USER, administrator).when(DisableUser(SUB, "")).refused("own_account")


def test_a_user_is_disabled_and_enabled() -> None:
    given(USER, FREDDIE).when(DisableUser("brian", " left ")).then(UserDisabled(sub=SUB, reason="left")).when(
        DisableUser("brian", "again")
    ).then_nothing().when(EnableUser()).then(UserEnabled(sub=SUB)).when(EnableUser()).then_nothing()


def test_a_reason_is_not_a_story() -> None:
    given(USER, FREDDIE).when(DisableUser("brian", "x" * 201)).refused("invalid_reason")


def test_a_reset_of_a_password_ends_what_was_given_and_a_first_one_ends_nothing() -> None:
    given(USER, FREDDIE).when(ResetPassword()).then(PASSWORD).when(ResetPassword()).then(PasswordReset(sub=SUB))


def test_a_user_changes_the_password_and_keeps_the_session() -> None:
    given(USER, FREDDIE, PASSWORD).when(ChangePassword("sid")).then(PasswordChanged(sub=SUB, kept_session="sid"))


def test_a_disabled_user_changes_no_password() -> None:
    given(USER, FREDDIE, UserDisabled(sub=SUB, reason="")).when(ChangePassword("sid")).refused("user_disabled")


ADD = AddSecondFactor(SecondFactorKind.TOTP, "sid")
ADDED = SecondFactorAdded(sub=SUB, kind=SecondFactorKind.TOTP, kept_session="sid")
REMOVE, REPLACE = (
    RemoveSecondFactor(with_recovery_code=True, kept_session="sid"),
    ReplaceRecoveryCodes(with_recovery_code=False),
)
REMOVED = SecondFactorRemoved(sub=SUB, kind=SecondFactorKind.TOTP, with_recovery_code=True, kept_session="sid")
DISABLED = UserDisabled(sub=SUB, reason="")


def test_a_second_factor_is_added_once_and_removed_once() -> None:
    given(USER, FREDDIE, PASSWORD).when(ADD).then(ADDED).when(ADD).refused("second_factor_exists")
    given(USER, FREDDIE, PASSWORD, ADDED).when(REMOVE).then(REMOVED).when(REMOVE).refused("no_second_factor")
    given(USER, FREDDIE, PASSWORD, ADDED, REMOVED).when(ADD).then(ADDED)


def test_there_is_none_without_a_first() -> None:
    given(USER, FREDDIE).when(ADD).refused("no_password")


def test_recovery_codes_belong_to_a_second_factor() -> None:
    given(USER, FREDDIE, PASSWORD).when(REPLACE).refused("no_second_factor")
    replaced = RecoveryCodesReplaced(sub=SUB, with_recovery_code=False)
    given(USER, FREDDIE, PASSWORD, ADDED).when(REPLACE).then(replaced).when(REPLACE).then(replaced)


@pytest.mark.parametrize("command", [ADD, REMOVE, REPLACE])
def test_a_disabled_user_does_nothing_about_it(command: Command) -> None:
    before = (FREDDIE, PASSWORD, DISABLED) if command is ADD else (FREDDIE, PASSWORD, ADDED, DISABLED)
    given(USER, *before).when(command).refused("user_disabled")


def test_somebody_else_takes_it_away_also_of_a_disabled_user() -> None:
    reset = SecondFactorReset(sub=SUB)
    given(USER, FREDDIE, PASSWORD, ADDED).when(ResetSecondFactor()).then(reset).when(ResetSecondFactor()).refused(
        "no_second_factor"
    )
    given(USER, FREDDIE, PASSWORD, ADDED, DISABLED).when(ResetSecondFactor()).then(reset)


def test_another_password_leaves_the_second_factor_on() -> None:
    changed = PasswordChanged(sub=SUB, kept_session=None)
    for other in (changed, PasswordReset(sub=SUB)):
        assert USER.fold([FREDDIE, PASSWORD, ADDED, other]).second_factor is SecondFactorKind.TOTP


ADD_PASSKEY = AddPasskey("p1", " My telephone ", backup_eligible=True, kept_session="sid")
PASSKEY = PasskeyAdded(
    sub=SUB, passkey_id="p1", name=Personal("My telephone"), backup_eligible=True, kept_session="sid"
)
ANOTHER = PasskeyAdded(sub=SUB, passkey_id="p2", name=Personal("A key"), backup_eligible=False, kept_session="sid")
REMOVE_PASSKEY = RemovePasskey("p1", "sid")
PASSKEY_REMOVED = PasskeyRemoved(sub=SUB, passkey_id="p1", kept_session="sid")


def test_a_passkey_is_added_once_and_removed_once() -> None:
    assert given(USER, FREDDIE, PASSWORD).when(ADD_PASSKEY).events == (PASSKEY,)
    given(USER, FREDDIE, PASSWORD, PASSKEY).when(ADD_PASSKEY).refused("passkey_exists")
    given(USER, FREDDIE, PASSWORD, PASSKEY).when(REMOVE_PASSKEY).then(PASSKEY_REMOVED).when(REMOVE_PASSKEY).then()
    given(USER, FREDDIE, PASSWORD, ANOTHER).when(REMOVE_PASSKEY).then_nothing()


def test_a_passkey_needs_no_password() -> None:
    assert given(USER, FREDDIE).when(ADD_PASSKEY).events == (PASSKEY,)


def test_what_a_passkey_is_called_is_personal() -> None:
    (event,) = given(USER, FREDDIE).when(ADD_PASSKEY).events
    assert "telephone" not in event.to_json(bytes(32))


def test_a_service_user_has_no_passkey() -> None:
    given(USER, registered(UserKind.SERVICE)).when(ADD_PASSKEY).refused("service_user")


@pytest.mark.parametrize("name", ["", " ", "x" * 61, "a\nb", "a\u202eb"])
def test_a_passkey_has_a_name_that_can_be_seen(name: str) -> None:
    given(USER, FREDDIE).when(replace(ADD_PASSKEY, name=name)).refused("invalid_passkey_name")


def test_there_are_not_too_many_passkeys() -> None:
    many = [PASSKEY.model_copy(update={"passkey_id": f"p{number + 2}"}) for number in range(PASSKEYS)]
    assert given(USER, FREDDIE, *many[1:]).when(ADD_PASSKEY).events == (PASSKEY,)
    given(USER, FREDDIE, *many).when(ADD_PASSKEY).refused("too_many_passkeys")


@pytest.mark.parametrize("command", [ADD_PASSKEY, REMOVE_PASSKEY])
def test_a_disabled_user_changes_no_passkey(command: Command) -> None:
    given(USER, FREDDIE, ANOTHER, PASSKEY, DISABLED).when(command).refused("user_disabled")


def test_recovery_codes_belong_to_passkeys_too() -> None:
    replaced = RecoveryCodesReplaced(sub=SUB, with_recovery_code=False)
    given(USER, FREDDIE, PASSKEY).when(REPLACE).then(replaced)
    given(USER, FREDDIE, PASSKEY, PASSKEY_REMOVED).when(REPLACE).refused("no_second_factor")


def test_codes_of_an_app_and_passkeys_are_turned_off_apart_and_reset_together() -> None:
    both = (FREDDIE, PASSWORD, ADDED, PASSKEY)
    assert USER.fold([*both, REMOVED]).passkeys == ("p1",)
    assert USER.fold([*both, PASSKEY_REMOVED]).second_factor is SecondFactorKind.TOTP
    given(USER, FREDDIE, PASSWORD, PASSKEY).when(REMOVE).refused("no_second_factor")
    for there in ((PASSKEY,), (PASSKEY, DISABLED), (ADDED, PASSKEY, ANOTHER)):
        given(USER, FREDDIE, PASSWORD, *there).when(ResetSecondFactor()).then(SecondFactorReset(sub=SUB))
    reset = USER.fold([*both, ANOTHER, SecondFactorReset(sub=SUB)])
    assert (reset.second_factor, reset.passkeys, reset.password_is_not_enough) == (None, (), False)


@pytest.mark.parametrize(
    "command",
    [
        ChangeUser("brian"),
        DisableUser("brian", ""),
        EnableUser(),
        ResetPassword(),
        ChangePassword("sid"),
        ADD,
        REMOVE,
        REPLACE,
        ResetSecondFactor(),
        ADD_PASSKEY,
        REMOVE_PASSKEY,
    ],
)
def test_nobody_is_nobody(command: Command) -> None:
    given(USER).when(command).refused("unknown_user")


ERASED = UserErased(sub=SUB)


@pytest.mark.parametrize("kind", UserKind)
@pytest.mark.parametrize("before", [(), (PASSWORD,), (UserDisabled(sub=SUB, reason=""),)])
def test_a_user_is_erased_whatever_they_are(kind: UserKind, before: tuple[UserDisabled | PasswordSet, ...]) -> None:
    assert given(USER, registered(kind), *before).when(EraseUser("brian")).events == (ERASED,)


def test_a_user_is_erased_once() -> None:
    assert given(USER, FREDDIE, ERASED).when(EraseUser("brian")).events == ()


def test_nobody_erases_themselves_or_nobody() -> None:
    given(USER, registered(UserKind.INTERNAL, Role.ADMINISTRATOR)).when(EraseUser(SUB)).refused("own_account")
    given(USER).when(EraseUser("brian")).refused("unknown_user")


@pytest.mark.parametrize(
    "command",
    [
        ChangeUser("brian", profile=PROFILE),
        ChangeUser("brian", roles=()),
        DisableUser("brian", ""),
        EnableUser(),
        ResetPassword(),
        ChangePassword("a-session"),
        ADD,
        REMOVE,
        REPLACE,
        ResetSecondFactor(),
        ADD_PASSKEY,
        REMOVE_PASSKEY,
    ],
)
def test_nothing_is_done_to_a_user_who_was_erased(command: Command) -> None:
    given(USER, FREDDIE, PASSWORD, ERASED).when(command).refused("user_erased")


def test_a_user_who_was_erased_is_not_registered_again() -> None:
    given(USER, FREDDIE, ERASED).when(REGISTER).refused("user_exists")


def test_nothing_is_known_of_a_user_who_was_erased() -> None:
    state = USER.fold([registered(UserKind.INTERNAL, Role.ADMINISTRATOR), PASSWORD, ADDED, ERASED])
    assert state.second_factor is None
    assert (state.profile, state.roles, state.enabled, state.has_password) == (Profile(), (), False, False)
