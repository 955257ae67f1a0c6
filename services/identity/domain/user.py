"""One user: registered, changed, disabled and enabled, given another password, a second factor or passkeys, erased.

Password, seed, codes and keys are in none of this: commands say that there is one, the vault holds what it is checked
with.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.identity.domain.names import valid_user_name
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
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event, Personal

ATTRIBUTE_LIMIT = 256
"""Characters of one attribute of a profile."""
REASON_LIMIT = 200
"""Characters of the reason for which a user is disabled."""
PASSKEYS = 20
"""How many passkeys a user may have."""
PASSKEY_NAME_LIMIT = 60
"""Characters of the name of one."""

ADDRESS = ("street_address", "locality", "region", "postal_code", "country")
"""The parts of a postal address (OpenID Connect Core section 5.1.1)."""
PERSONAL = ("given_name", "family_name", "display_name", "email", "locale", "zoneinfo", "phone_number", *ADDRESS)
"""The attributes that are text."""
VERIFIED = {"email": "email_verified", "phone_number": "phone_number_verified"}
"""Where a person is reached, and the attribute that says that it was proved to be theirs."""
_SHAPES = {
    "email": re.compile(r"[^\s@<>()\[\],;:\\\"]{1,64}@[^\s@<>()\[\],;:\\\"]{1,190}"),
    "locale": re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,5}"),  # the shape of BCP 47
    "zoneinfo": re.compile(r"[A-Za-z0-9_+-]{1,30}(/[A-Za-z0-9_+-]{1,30}){0,2}"),  # the shape of an IANA name
    "phone_number": re.compile(r"\+[1-9][0-9]{3,14}(;ext=[0-9]{1,10})?"),  # E.164, RFC 3966 for an extension
}


_NO_PROFILE = Profile()


class UserIsErased(Refusal):
    """There was such a user, and there is not any more."""

    def __init__(self) -> None:
        super().__init__(Kind.NOT_FOUND, "user_erased", "the user was erased")


@dataclass(frozen=True, slots=True)
class User:
    """What the rules need to know of a user."""

    sub: str = ""
    """Empty: there is no such user."""
    kind: UserKind = UserKind.INTERNAL
    profile: Profile = _NO_PROFILE
    roles: tuple[Role, ...] = ()
    enabled: bool = False
    has_password: bool = False
    erased: bool = False
    second_factor: SecondFactorKind | None = None
    passkeys: tuple[str, ...] = ()
    """Their ids."""

    @property
    def password_is_not_enough(self) -> bool:
        """Whether something else has to be proved to sign in."""
        return self.second_factor is not None or bool(self.passkeys)


@dataclass(frozen=True, slots=True)
class RegisterUser:
    """Make a user known; with a first password or without."""

    sub: str
    user_name: str
    kind: UserKind
    profile: Profile
    roles: tuple[Role, ...]
    with_password: bool


@dataclass(frozen=True, slots=True)
class ChangeUser:
    """Give a user other attributes or roles; None leaves them as they are."""

    by: str
    """`sub` of the administrator who does it."""
    profile: Profile | None = None
    roles: tuple[Role, ...] | None = None


@dataclass(frozen=True, slots=True)
class DisableUser:
    """Let a user not sign in, and have no token accepted that names them."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class EnableUser:
    """Take that back."""


@dataclass(frozen=True, slots=True)
class EraseUser:
    """Let there be nothing left that tells who the user was."""

    by: str


@dataclass(frozen=True, slots=True)
class ResetPassword:
    """Somebody else sets the password: whatever the account gave before ends."""


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """The user sets another one; the session in which they do so stays."""

    kept_session: str


@dataclass(frozen=True, slots=True)
class AddSecondFactor:
    """The user has proved that they have it: from now on the password alone is not enough."""

    kind: SecondFactorKind
    kept_session: str


@dataclass(frozen=True, slots=True)
class RemoveSecondFactor:
    """The user wants the password alone to be enough again; they have proved the factor once more."""

    with_recovery_code: bool
    kept_session: str


@dataclass(frozen=True, slots=True)
class ResetSecondFactor:
    """Somebody else takes it away: whatever the account gave before ends."""


@dataclass(frozen=True, slots=True)
class ReplaceRecoveryCodes:
    """The user wants new ones; they have proved the factor once more."""

    with_recovery_code: bool


@dataclass(frozen=True, slots=True)
class AddPasskey:
    """The user has proved that they have it: it signs in, and from now on the password alone is not enough."""

    passkey_id: str
    name: str
    backup_eligible: bool
    kept_session: str


@dataclass(frozen=True, slots=True)
class RemovePasskey:
    """The user does not want it to open anything any more."""

    passkey_id: str
    kept_session: str


OfPasskeys = AddPasskey | RemovePasskey
OfSecondFactor = AddSecondFactor | RemoveSecondFactor | ResetSecondFactor | ReplaceRecoveryCodes
Command = (
    RegisterUser
    | ChangeUser
    | DisableUser
    | EnableUser
    | EraseUser
    | ResetPassword
    | ChangePassword
    | OfSecondFactor
    | OfPasskeys
)


def decide(command: Command, state: User) -> Sequence[Event]:  # noqa: C901, PLR0911  (one for each command)
    """The facts that follow; a `Refusal` where the command may not be carried out."""
    if isinstance(command, RegisterUser):
        return _register(command, state)
    if not state.sub:
        raise Refusal(Kind.NOT_FOUND, "unknown_user", "there is no such user")
    if isinstance(command, EraseUser):
        return _erase(command, state)
    if state.erased:
        raise UserIsErased
    match command:
        case ChangeUser():
            return _change(command, state)
        case DisableUser():
            return _disable(command, state)
        case EnableUser():
            return () if state.enabled else (UserEnabled(sub=state.sub),)
        case ResetPassword() | ChangePassword():
            return _set_password(command, state)
        case AddSecondFactor() | RemoveSecondFactor() | ResetSecondFactor() | ReplaceRecoveryCodes():
            return _second_factor(command, state)
        case AddPasskey() | RemovePasskey():
            return _passkeys(command, state)


def _register(command: RegisterUser, state: User) -> Sequence[Event]:
    if state.sub:
        raise Refusal(Kind.ALREADY_EXISTS, "user_exists", "the user exists already")
    user_name = valid_user_name(command.user_name)
    if command.kind is UserKind.SERVICE and command.with_password:
        raise Refusal(Kind.INVALID, "service_user", "a service user never signs in, so it has no password")
    roles = _valid_roles(command.roles, command.kind)
    registered = UserRegistered(
        sub=command.sub,
        user_name=Personal(user_name),
        kind=command.kind,
        profile=_valid_profile(command.profile),
        roles=roles,
    )
    return (registered, PasswordSet(sub=command.sub)) if command.with_password else (registered,)


def _change(command: ChangeUser, state: User) -> Sequence[Event]:
    events: list[Event] = []
    if command.profile is not None and attributes(command.profile) != attributes(state.profile):
        events.append(ProfileChanged(sub=state.sub, profile=_valid_profile(command.profile)))
    if command.roles is not None:
        roles = _valid_roles(command.roles, state.kind)
        removed = tuple(role for role in state.roles if role not in roles)
        if Role.ADMINISTRATOR in removed and command.by == state.sub:
            raise Refusal(
                Kind.PRECONDITION, "own_role", "administrators do not take the role from themselves; another one can"
            )
        if roles != state.roles:
            events.append(RolesChanged(sub=state.sub, roles=roles, removed=removed))
    return events


def _disable(command: DisableUser, state: User) -> Sequence[Event]:
    if not state.enabled:
        return ()
    if command.by == state.sub:
        raise Refusal(Kind.PRECONDITION, "own_account", "nobody disables themselves; another administrator can")
    reason = command.reason.strip()
    if len(reason) > REASON_LIMIT:
        raise Refusal(Kind.INVALID, "invalid_reason", f"a reason has at most {REASON_LIMIT} characters")
    return (UserDisabled(sub=state.sub, reason=reason),)


def _set_password(command: ResetPassword | ChangePassword, state: User) -> Sequence[Event]:
    if isinstance(command, ChangePassword):
        if not state.enabled:
            raise Refusal(Kind.PRECONDITION, "user_disabled", "the user is disabled")
        return (PasswordChanged(sub=state.sub, kept_session=command.kept_session),)
    if state.kind is UserKind.SERVICE:
        raise Refusal(Kind.PRECONDITION, "service_user", "a service user never signs in, so it has no password")
    return (PasswordReset(sub=state.sub),) if state.has_password else (PasswordSet(sub=state.sub),)


def _second_factor(command: OfSecondFactor, state: User) -> Sequence[Event]:
    if isinstance(command, AddSecondFactor):
        if not state.enabled:
            raise Refusal(Kind.PRECONDITION, "user_disabled", "the user is disabled")
        if not state.has_password:
            raise Refusal(Kind.PRECONDITION, "no_password", "there is no password that this could be second to")
        if state.second_factor is not None:
            raise Refusal(Kind.PRECONDITION, "second_factor_exists", "the user has a second factor already")
        return (SecondFactorAdded(sub=state.sub, kind=command.kind, kept_session=command.kept_session),)
    if not state.password_is_not_enough:
        raise _no_second_factor()
    if isinstance(command, ResetSecondFactor):
        return (SecondFactorReset(sub=state.sub),)
    if not state.enabled:
        raise Refusal(Kind.PRECONDITION, "user_disabled", "the user is disabled")
    if isinstance(command, ReplaceRecoveryCodes):
        return (RecoveryCodesReplaced(sub=state.sub, with_recovery_code=command.with_recovery_code),)
    if state.second_factor is None:
        raise _no_second_factor()
    return (
        SecondFactorRemoved(
            sub=state.sub,
            kind=state.second_factor,
            with_recovery_code=command.with_recovery_code,
            kept_session=command.kept_session,
        ),
    )


def _no_second_factor() -> Refusal:
    return Refusal(Kind.PRECONDITION, "no_second_factor", "the user has no second factor")


def _passkeys(command: OfPasskeys, state: User) -> Sequence[Event]:
    if not state.enabled:
        raise Refusal(Kind.PRECONDITION, "user_disabled", "the user is disabled")
    if isinstance(command, RemovePasskey):
        if command.passkey_id not in state.passkeys:
            return ()
        return (PasskeyRemoved(sub=state.sub, passkey_id=command.passkey_id, kept_session=command.kept_session),)
    if state.kind is UserKind.SERVICE:
        raise Refusal(Kind.PRECONDITION, "service_user", "a service user never signs in, so it has no passkey")
    if command.passkey_id in state.passkeys:
        raise Refusal(Kind.ALREADY_EXISTS, "passkey_exists", "the passkey exists already")
    if len(state.passkeys) >= PASSKEYS:
        raise Refusal(Kind.PRECONDITION, "too_many_passkeys", f"a user has at most {PASSKEYS} passkeys")
    added = PasskeyAdded(
        sub=state.sub,
        passkey_id=command.passkey_id,
        name=Personal(valid_passkey_name(command.name)),
        backup_eligible=command.backup_eligible,
        kept_session=command.kept_session,
    )
    return (added,)


def valid_passkey_name(name: str) -> str:
    """The name, without space around it. Raises `Refusal` INVALID."""
    shown = name.strip()
    if not 1 <= len(shown) <= PASSKEY_NAME_LIMIT or not shown.isprintable():
        raise Refusal(
            Kind.INVALID,
            "invalid_passkey_name",
            f"a passkey's name has 1 to {PASSKEY_NAME_LIMIT} characters that can be seen",
        )
    return shown


def _erase(command: EraseUser, state: User) -> Sequence[Event]:
    """Whoever erases stays, so there is always an administrator left."""
    if state.erased:
        return ()
    if command.by == state.sub:
        raise Refusal(Kind.PRECONDITION, "own_account", "nobody erases themselves; another administrator can")
    return (UserErased(sub=state.sub),)


def _valid_roles(roles: tuple[Role, ...], kind: UserKind) -> tuple[Role, ...]:
    """The roles in a fixed order, each once."""
    if roles and kind is not UserKind.INTERNAL:
        raise Refusal(Kind.INVALID, "invalid_roles", "only an internal user has roles")
    return tuple(role for role in Role if role in roles)


def _valid_profile(profile: Profile) -> Profile:
    for name, value in attributes(profile).items():
        if not isinstance(value, str):
            continue
        shown = value.replace("\n", "") if name == "street_address" else value  # which may have several lines
        if not 1 <= len(value) <= ATTRIBUTE_LIMIT or not shown.isprintable() or value != value.strip():
            raise Refusal(
                Kind.INVALID,
                "invalid_profile",
                f"{name} has 1 to {ATTRIBUTE_LIMIT} printable characters, without space around them",
            )
        shape = _SHAPES.get(name)
        if shape is not None and shape.fullmatch(value) is None:
            raise Refusal(Kind.INVALID, "invalid_profile", f"{name} is not well formed")
    for name, verified in VERIFIED.items():
        if getattr(profile, verified) and getattr(profile, name) is None:
            raise Refusal(Kind.INVALID, "invalid_profile", f"without {name} there is none that is verified")
    return profile


def attributes(profile: Profile) -> dict[str, str | bool | None]:
    """The attributes in the clear; None where there is none, or none that can be read."""
    found: dict[str, str | bool | None] = {name: getattr(profile, name) for name in VERIFIED.values()}
    for name in PERSONAL:
        value = getattr(profile, name)
        found[name] = None if value is None else value.reveal()
    return found


def evolve(state: User, event: Event) -> User:  # noqa: C901, PLR0911, PLR0912  (one for each fact)
    """The user after this fact."""
    match event:
        case UserRegistered():
            return User(event.sub, event.kind, event.profile, event.roles, enabled=True)
        case ProfileChanged():
            return replace(state, profile=event.profile)
        case RolesChanged():
            return replace(state, roles=event.roles)
        case UserDisabled():
            return replace(state, enabled=False)
        case UserEnabled():
            return replace(state, enabled=True)
        case UserErased():
            return User(state.sub, state.kind, erased=True)
        case PasswordSet() | PasswordReset() | PasswordChanged():
            return replace(state, has_password=True)
        case SecondFactorAdded():
            return replace(state, second_factor=event.kind)
        case SecondFactorRemoved():
            return replace(state, second_factor=None)
        case SecondFactorReset():
            return replace(state, second_factor=None, passkeys=())
        case PasskeyAdded():
            return replace(state, passkeys=(*state.passkeys, event.passkey_id))
        case PasskeyRemoved():
            return replace(state, passkeys=tuple(one for one in state.passkeys if one != event.passkey_id))
        case _:
            return state


USER: Decider[Command, User] = Decider("user", User(), decide, evolve)
