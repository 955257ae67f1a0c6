"""Users: registering, changing, disabling them, and their passwords."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.identity.common_passwords import most_frequent
from services.identity.domain.names import normalised, valid_password, valid_user_name
from services.identity.domain.user import (
    USER,
    ChangePassword,
    ChangeUser,
    Command,
    DisableUser,
    EnableUser,
    RegisterUser,
    ResetPassword,
    User,
)
from services.identity.events import (
    PasswordChanged,
    PasswordReset,
    PasswordSet,
    Profile,
    ProfileChanged,
    Role,
    RolesChanged,
    UserDisabled,
    UserEnabled,
    UserKind,
    UserRegistered,
)
from services.identity.origin import Origin
from services.identity.passwords import Passwords
from services.identity.personal_keys import PersonalKeyRing
from services.identity.read_model import (
    BOOTSTRAPPED,
    DEMO,
    INSTANCE,
    PASSWORD,
    PERSONAL_KEYS,
    VAULT,
    Questions,
    SessionRow,
    UserRow,
    project,
)
from services.identity.sessions import WrongCredentials
from services.identity.throttle import Throttle
from shared.denials import DenialKind
from shared.errors import Kind, Refusal
from shared.handle import Guards, Handled, handle
from shared.ids import id_of, keyed_digest
from shared.keys import MasterKey
from shared.log.append import AsOf, Context, Fence, Name, NameTaken
from shared.log.event import Event, Put, RowChange, Stamp
from shared.log.log import Log, Stream

_USER_NAMES = "user_names"
"""Purpose of the digests under which user names are taken for ever."""


@dataclass(frozen=True, slots=True)
class NewUser:
    """Somebody to be made known."""

    user_name: str
    kind: UserKind
    profile: Profile
    roles: tuple[Role, ...] = ()
    password: str | None = field(default=None, repr=False)


class Accounts:
    """What can be done with users. Every change answers its position in the log."""

    def __init__(  # noqa: PLR0913  (what it is made of)
        self,
        log: Log,
        *,
        questions: Questions,
        keys: PersonalKeyRing,
        passwords: Passwords,
        throttle: Throttle,
        master: MasterKey,
        demo: bool,
    ) -> None:
        self._log = log
        self._questions = questions
        self._keys = keys
        self._passwords = passwords
        self._throttle = throttle
        self._name_key = master.derive("user-names")
        self._sub_key = master.derive("subjects")
        self._demo = demo

    async def register(self, user: NewUser, context: Context, *, bootstrap: bool = False) -> tuple[str, int]:
        """A new user; answers the `sub` and the position. With `bootstrap` it works once for the instance.

        Raises `Refusal` ALREADY_EXISTS if the name was ever used, or if the instance was bootstrapped before.
        """
        name = valid_user_name(user.user_name)
        sub = self._sub_of(context)
        key, wrapped = self._keys.new(sub)
        rows: list[RowChange] = [Put(PERSONAL_KEYS, {"sub": sub, "wrapped": wrapped})]
        if user.password is not None:
            hashed = await self._passwords.hash(valid_password(user.password, name, most_frequent()))
            rows.append(Put(VAULT, {"sub": sub, "kind": PASSWORD, "value": hashed.encode()}))
        names = [Name(keyed_digest(self._name_key, _USER_NAMES, name))]
        if self._demo:
            rows.append(Put(INSTANCE, {"mark": DEMO, "position": Stamp.POSITION}))
        if bootstrap:
            rows.append(Put(INSTANCE, {"mark": BOOTSTRAPPED, "position": Stamp.POSITION}))
            names.append(Name(keyed_digest(self._name_key, "bootstrap", "instance")))

        async def guarding(_: Stream) -> Guards:
            return Guards(names=tuple(names), rows=tuple(rows), personal_key=key)

        command = RegisterUser(sub, name, user.kind, user.profile, user.roles, with_password=user.password is not None)
        try:
            handled = await handle(self._log, USER, sub, command, context=context, project=project, guarding=guarding)
        except NameTaken:
            if bootstrap and await self._questions.marked(BOOTSTRAPPED):
                raise Refusal(
                    Kind.ALREADY_EXISTS, "already_bootstrapped", "the instance has its first administrator already"
                ) from None
            raise
        if handled.appended is None and not _registers(handled, name, user.kind):
            raise _another_command()
        return sub, handled.position

    async def change(
        self,
        sub: str,
        context: Context,
        *,
        profile: Callable[[Profile], Profile] | None,
        roles: tuple[Role, ...] | None,
        by: str,
    ) -> int:
        """Give a user other attributes (derived from those they have) or roles."""

        async def command() -> ChangeUser:
            if profile is None:
                return ChangeUser(by, None, roles)
            state = USER.fold(recorded.event for recorded in (await self._log.load(USER.stream(sub))).events)
            return ChangeUser(by, profile(state.profile), roles)

        handled = await self._carry_out(sub, command, context, (ProfileChanged, RolesChanged))
        return handled.position

    async def disable(self, sub: str, reason: str, context: Context, *, by: str) -> int:
        """Let nobody sign in as this user, nor use a token that names them, until they are enabled."""
        return (await self._carry_out(sub, DisableUser(by, reason), context, UserDisabled)).position

    async def enable(self, sub: str, context: Context) -> int:
        """Take that back."""
        return (await self._carry_out(sub, EnableUser(), context, UserEnabled)).position

    async def reset_password(self, user: UserRow, password: str, context: Context) -> int:
        """Set it for somebody else; whatever the account gave before ends."""
        hashed = await self._passwords.hash(valid_password(password, user.user_name, most_frequent()))
        handled = await self._carry_out(
            user.sub, ResetPassword(), context, (PasswordReset, PasswordSet), self._hash_row(user.sub, hashed)
        )
        return handled.position

    async def change_password(
        self, session: SessionRow, current: str, wanted: str, origin: Origin, context: Context
    ) -> int:
        """Set one's own, knowing the one before; the session stays, the user's others end.

        Raises `WrongCredentials`, `Throttled`, or a `Refusal` INVALID that says what a password needs.
        """
        user = session.user
        password = valid_password(wanted, user.user_name, most_frequent())
        attempt = await self._throttle.admit(normalised(user.user_name), origin.device_cookie, origin.address)
        await self._check(user.sub, current)
        await self._throttle.succeeded(attempt)
        hashed = await self._passwords.hash(password)
        fence = Fence(
            # Whoever has lost the session, or the account, meanwhile changes nothing any more.
            AsOf(session.user.epoch, {"identity": session.position}),
            (
                (DenialKind.SUBJECT, user.sub),
                (DenialKind.SUBJECT_SESSIONS, user.sub),
                (DenialKind.SESSION, session.sid),
            ),
        )
        handled = await self._carry_out(
            user.sub,
            ChangePassword(session.sid),
            context,
            PasswordChanged,
            self._hash_row(user.sub, hashed),
            fence=fence,
        )
        return handled.position

    async def _check(self, sub: str, password: str) -> None:
        credentials = await self._questions.credentials_of(sub)
        stored = None if credentials is None else credentials.password_hash
        if not await self._passwords.verify(stored, password):
            raise WrongCredentials

    async def _carry_out(
        self,
        sub: str,
        command: Command | Callable[[], Awaitable[Command]],
        context: Context,
        follows: type[Event] | tuple[type[Event], ...],
        *rows: RowChange,
        fence: Fence | None = None,
    ) -> Handled[User]:
        """`follows`: what the command leads to; a repeated command id has to have led to just that."""

        async def guarding(_: Stream) -> Guards:
            key = (await self._keys.keys([sub])).get(sub)
            return Guards(rows=rows, personal_key=key, fence=fence)

        handled = await handle(self._log, USER, sub, command, context=context, project=project, guarding=guarding)
        if handled.appended is None and not all(isinstance(event, follows) for event in handled.events):
            raise _another_command()
        return handled

    def _hash_row(self, sub: str, hashed: str) -> Put:
        return Put(VAULT, {"sub": sub, "kind": PASSWORD, "value": hashed.encode()})

    def _sub_of(self, context: Context) -> str:
        """A new user's `sub`: as good as random, and the same again if the same command is repeated."""
        made = keyed_digest(self._sub_key, context.actor, str(context.command_id))
        return id_of(made[:16])


def _registers(handled: Handled[User], name: str, kind: UserKind) -> bool:
    first = handled.events[0] if handled.events else None
    return isinstance(first, UserRegistered) and first.user_name.reveal() == name and first.kind is kind


def _another_command() -> Refusal:
    return Refusal(Kind.CONFLICT, "idempotency_key_reused", "the idempotency key was used for another command")
