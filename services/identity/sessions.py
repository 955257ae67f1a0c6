"""Sessions: signing in, by one factor or two or a passkey, finding the session of a cookie, ending it."""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from services.identity.domain.names import normalised
from services.identity.domain.session import (
    SESSION,
    EndSession,
    SessionOver,
    StepUp,
    may_sign_in,
)
from services.identity.events import SessionEndReason
from services.identity.failed_sign_ins import FailedSignIns
from services.identity.opening import SOURCE, Lifetimes, Opening, Proof, parties, using
from services.identity.origin import Origin
from services.identity.passkeys import Answered, Passkeys
from services.identity.passwords import Passwords
from services.identity.personal_keys import PersonalKeyRing
from services.identity.proofs import SecondProof
from services.identity.read_model import ACTIVITY, Credentials, Questions, SessionRow, UserRow, project
from services.identity.second_factor import SecondFactor
from services.identity.throttle import Throttle, Throttled
from shared.clock import Clock
from shared.denials import LONGEST_ACCESS_TOKEN
from shared.errors import Kind, Refusal
from shared.handle import Guards, handle
from shared.ids import digest, new_command_id, new_secret
from shared.log.append import AlreadyUsed, AsOf, Context, Fence, NameTaken
from shared.log.event import Delete
from shared.log.log import Log, Stream
from shared.telemetry import logger

_log = logger(__name__)

T = TypeVar("T")

_SEEN_EVERY = timedelta(minutes=1)


class WrongCredentials(Refusal):
    """One answer for everything: no such user, no password, a disabled user, the wrong password."""

    def __init__(self) -> None:
        super().__init__(Kind.UNAUTHENTICATED, "wrong_credentials", "The name or the password is not right.")


class AnotherAccount(Refusal):
    """The password was right, but the application asked for somebody else."""

    def __init__(self) -> None:
        super().__init__(
            Kind.PRECONDITION, "another_account", "The application asked for another account than this one."
        )


class SignInOver(Refusal):
    """Between the password and the second factor the account changed, or too much time went by."""

    def __init__(self) -> None:
        super().__init__(Kind.PRECONDITION, "sign_in_over", "Please sign in once more.")


@dataclass(frozen=True, slots=True)
class Presented:
    """What somebody presents who signs in."""

    user_name: str
    password: str = field(repr=False)
    session_secret: str | None = field(default=None, repr=False)
    """Of the session that their browser has."""
    expected_sub: str = ""
    """The user that the application asked for; empty: any."""


@dataclass(frozen=True, slots=True)
class PasswordProved:
    """The password was right, and this user has a second factor: nothing has been given yet."""

    sub: str
    epoch: int
    position: int
    """Of the user's last fact then; after another one, or in another epoch, the password has to be proved anew."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A sign-in that succeeded."""

    sub: str
    secret: str = field(repr=False)
    """For the session cookie; it is kept nowhere here."""
    device_cookie: str


class Sessions:
    """What can be done with sessions."""

    def __init__(  # noqa: PLR0913  (what it is made of)
        self,
        log: Log,
        *,
        questions: Questions,
        keys: PersonalKeyRing,
        passwords: Passwords,
        throttle: Throttle,
        second_factor: SecondFactor,
        passkeys: Passkeys,
        failures: FailedSignIns,
        clock: Clock,
        lifetimes: Lifetimes,
    ) -> None:
        self._log = log
        self._questions = questions
        self._passwords = passwords
        self._throttle = throttle
        self._second_factor = second_factor
        self._passkeys = passkeys
        self._failures = failures
        self._clock = clock
        self._opening = Opening(log, keys=keys, clock=clock, lifetimes=lifetimes)

    async def current(self, secret: str | None, client_id: str = "") -> SessionRow | None:
        """The session whose cookie this is, if it holds now, with what its user allowed `client_id`."""
        if not secret:
            return None
        now = self._clock()
        session = await self._questions.session(digest(secret), now, client_id)
        if session is not None and now - session.seen_at >= _SEEN_EVERY:
            await self._questions.seen(session.sid, now)
        return session

    async def sign_in(self, presented: Presented, origin: Origin, correlation_id: str) -> Opened | PasswordProved:
        """Begin a session for whoever proves to be this user; or go on with the one there is, if it is the same user's.

        Where the user has a second factor the password alone begins nothing, and changes nothing.
        The cookie's secret is new in either case, so that one which somebody else planted or copied is worth nothing.
        Raises `WrongCredentials`, `Throttled`, `AnotherAccount` or `Unavailable`.
        """
        name = normalised(presented.user_name[:1024])
        password = presented.password
        try:
            attempt = await self._throttle.admit(name, origin.device_cookie, origin.address)
        except Throttled:
            self._failures.not_looked_at()
            raise
        credentials = await self._proved(name, password)
        await self._throttle.succeeded(attempt)
        if credentials.user.has_second_factor:
            return _password_proved(credentials.user)
        if presented.expected_sub not in ("", credentials.user.sub):
            raise AnotherAccount

        async def again() -> Credentials:
            proved = await self._proved(name, password)
            if proved.user.has_second_factor:
                raise SignInOver
            return proved

        try:
            secret = await self._opening.open(
                Proof(credentials, again), await self.current(presented.session_secret), origin, correlation_id
            )
        except SignInOver:  # a second factor was set up since the password was looked at
            proved = await self._proved(name, password)
            return _password_proved(proved.user)
        return Opened(credentials.user.sub, secret, self._throttle.remember(origin.device_cookie, attempt))

    async def sign_in_by_two(  # noqa: PLR0913  (each is one independent part of what is presented)
        self,
        proved: PasswordProved,
        presented: str | Answered,
        session_secret: str | None,
        origin: Origin,
        correlation_id: str,
        *,
        expected_sub: str = "",
    ) -> Opened:
        """Go on with a sign-in whose password was right, by a code or a passkey.

        Raises `SignInOver`, `WrongCode`, `WrongPasskey`, `Throttled`, `AnotherAccount` or `Unavailable`.
        """
        credentials = await self._still(proved)
        second = await self._second_factor.prove(credentials, presented, origin)
        if expected_sub not in ("", proved.sub):
            await self._second_factor.accepted(second)
            raise AnotherAccount
        proof = Proof(credentials, lambda: self._still(proved), second)
        current = await self.current(session_secret)
        writing = self._opening.open(proof, current, origin, correlation_id)
        secret = await self._using_up(second, proved.sub, writing)
        return Opened(proved.sub, secret, self._throttle.remember(origin.device_cookie, second.attempt))

    async def sign_in_by_passkey(
        self,
        answered: Answered,
        session_secret: str | None,
        origin: Origin,
        correlation_id: str,
        *,
        expected_sub: str = "",
    ) -> Opened:
        """Begin a session, or go on with one, for whoever the passkey belongs to; no password is asked for.

        Raises `WrongPasskey`, `Throttled`, `AnotherAccount` or `Unavailable`.
        """
        credentials, by_passkey = await self._passkeys.prove(answered, origin)
        sub = credentials.user.sub
        if expected_sub not in ("", sub):
            await self._second_factor.accepted(by_passkey)
            raise AnotherAccount
        proof = Proof(credentials, lambda: self._passkeys.still(sub, by_passkey.passkey_id), by_passkey)
        current = await self.current(session_secret)
        secret = await self._using_up(by_passkey, sub, self._opening.open(proof, current, origin, correlation_id))
        return Opened(sub, secret, self._throttle.remember(origin.device_cookie, by_passkey.attempt))

    async def step_up(self, session: SessionRow, presented: str | Answered, origin: Origin, correlation_id: str) -> str:
        """Let a session be worth two factors; answers the new secret of its cookie.

        When its user signed in stays as it was. Raises `SessionOver`, `WrongCode`, `WrongPasskey`, `Throttled` or
        `Unavailable`.
        """
        sub = session.user.sub
        credentials = await self._questions.credentials_of(sub)
        if credentials is None or not credentials.user.is_as_of(session.user.epoch, session.user.position):
            raise SessionOver
        second = await self._second_factor.prove(credentials, presented, origin)
        new = new_secret()
        command = StepUp(sub, credentials.user.enabled, digest(new), second.methods, second.with_recovery_code)
        context = Context(f"user:{sub}", correlation_id, new_command_id())
        as_of = AsOf(session.user.epoch, {SOURCE: session.position})

        async def guarding(_: Stream) -> Guards:
            return using(second, Fence(as_of, parties(sub, session.sid)))

        writing = handle(self._log, SESSION, session.sid, command, context=context, project=project, guarding=guarding)
        await self._using_up(second, sub, writing)
        return new

    async def end(self, sid: str, reason: SessionEndReason, context: Context) -> int:
        """End a session and what it gave; answers the position."""

        async def rows(_: Stream) -> Guards:
            return Guards(rows=(Delete(ACTIVITY, {"sid": sid}),))

        command = EndSession(reason, self._clock() + LONGEST_ACCESS_TOKEN)
        handled = await handle(self._log, SESSION, sid, command, context=context, project=project, guarding=rows)
        return handled.position

    async def user(self, sub: str) -> UserRow | None:
        """The user, as of now."""
        return await self._questions.user(sub)

    async def of(self, sub: str) -> list[SessionRow]:
        """A user's sessions that hold now, the newest first."""
        return await self._questions.sessions_of(sub, self._clock())

    async def _proved(self, name: str, password: str) -> Credentials:
        """The user of this name, if the password is right and they may sign in; always after one verification."""
        credentials = await self._questions.credentials(name)
        right = await self._passwords.verify(None if credentials is None else credentials.password_hash, password)
        if credentials is None or not right or not may_sign_in(credentials.user.kind, enabled=credentials.user.enabled):
            self._failures.wrong(None if credentials is None else credentials.user.sub)
            raise WrongCredentials
        await self._renew(credentials, password)
        return credentials

    async def _renew(self, credentials: Credentials, password: str) -> None:
        """Where the parameters have changed since, keep the password under a hash of today's."""
        stored = credentials.password_hash
        if stored is None or not self._passwords.outdated(stored):
            return
        try:
            await self._questions.replace_hash(credentials.user.sub, stored, await self._passwords.hash(password))
        except Refusal as refusal:  # the next sign-in will do
            _log.warning("a password was not hashed anew", code=refusal.code)

    async def _still(self, proved: PasswordProved) -> Credentials:
        """The user whose password was right, if nothing about them has changed since. Raises `SignInOver`."""
        credentials = await self._questions.credentials_of(proved.sub)
        if credentials is None or not credentials.user.is_as_of(proved.epoch, proved.position):
            raise SignInOver
        user = credentials.user
        if not user.has_second_factor or not may_sign_in(user.kind, enabled=user.enabled):
            raise SignInOver
        return credentials

    async def _using_up(self, second: SecondProof, sub: str, writing: Awaitable[T]) -> T:
        """Write what a proof is for; one that another request used in the same moment is a wrong one."""
        try:
            written = await writing
        except (AlreadyUsed, NameTaken):
            raise self._second_factor.lost(second, sub) from None
        await self._second_factor.accepted(second)
        return written


def _password_proved(user: UserRow) -> PasswordProved:
    return PasswordProved(user.sub, user.epoch, user.position)
