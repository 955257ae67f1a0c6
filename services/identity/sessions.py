"""Sessions: signing in, by one factor or two, proving it again, finding the session of a cookie, ending it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec.structs import replace

from services.identity.domain.names import normalised
from services.identity.domain.session import (
    PASSWORD_METHODS,
    SESSION,
    EndSession,
    Reauthenticate,
    SessionOver,
    StartSession,
    StepUp,
    may_sign_in,
)
from services.identity.events import SessionEndReason
from services.identity.failed_sign_ins import FailedSignIns
from services.identity.origin import Origin
from services.identity.passwords import Passwords
from services.identity.personal_keys import PersonalKeyRing
from services.identity.read_model import ACTIVITY, Credentials, Questions, SessionRow, UserRow, project
from services.identity.second_factor import SecondFactor, SecondProof
from services.identity.throttle import Throttle, Throttled
from shared.clock import Clock
from shared.denials import LONGEST_ACCESS_TOKEN, DenialKind
from shared.errors import Kind, Refusal
from shared.handle import Guards, handle
from shared.ids import digest, new_command_id, new_ordered_id, new_secret
from shared.log.append import AlreadyUsed, AsOf, Context, Fence, NameTaken
from shared.log.event import Delete, Put, RowChange
from shared.log.log import Log, Stream
from shared.telemetry import logger

_log = logger(__name__)

T = TypeVar("T")

_SEEN_EVERY = timedelta(minutes=1)
_SOURCE = "identity"


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
class Lifetimes:
    """How long things last."""

    idle: timedelta
    absolute: timedelta


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
        failures: FailedSignIns,
        clock: Clock,
        lifetimes: Lifetimes,
    ) -> None:
        self._log = log
        self._questions = questions
        self._keys = keys
        self._passwords = passwords
        self._throttle = throttle
        self._second_factor = second_factor
        self._failures = failures
        self._clock = clock
        self._lifetimes = lifetimes

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
        if credentials.user.totp_since is not None:
            return _password_proved(credentials.user)
        if presented.expected_sub not in ("", credentials.user.sub):
            raise AnotherAccount

        async def again() -> Credentials:
            proved = await self._proved(name, password)
            if proved.user.totp_since is not None:
                raise SignInOver
            return proved

        try:
            secret = await self._open(_Proof(credentials, again), presented.session_secret, origin, correlation_id)
        except SignInOver:  # a second factor was set up since the password was looked at
            proved = await self._proved(name, password)
            return _password_proved(proved.user)
        return Opened(credentials.user.sub, secret, self._throttle.remember(origin.device_cookie, attempt))

    async def sign_in_by_two(  # noqa: PLR0913  (each is one independent part of what is presented)
        self,
        proved: PasswordProved,
        code: str,
        session_secret: str | None,
        origin: Origin,
        correlation_id: str,
        *,
        expected_sub: str = "",
    ) -> Opened:
        """Go on with a sign-in whose password was right.

        Raises `SignInOver`, `WrongCode`, `Throttled`, `AnotherAccount` or `Unavailable`.
        """
        credentials = await self._still(proved)
        second = await self._second_factor.prove(credentials, code, origin)
        if expected_sub not in ("", proved.sub):
            await self._second_factor.accepted(second)
            raise AnotherAccount
        proof = _Proof(credentials, lambda: self._still(proved), second)
        secret = await self._using_up(second, proved.sub, self._open(proof, session_secret, origin, correlation_id))
        return Opened(proved.sub, secret, self._throttle.remember(origin.device_cookie, second.attempt))

    async def step_up(self, session: SessionRow, code: str, origin: Origin, correlation_id: str) -> str:
        """Let a session be worth two factors; answers the new secret of its cookie.

        When its user signed in stays as it was. Raises `SessionOver`, `WrongCode`, `Throttled` or `Unavailable`.
        """
        sub = session.user.sub
        credentials = await self._questions.credentials_of(sub)
        if credentials is None or not credentials.user.is_as_of(session.user.epoch, session.user.position):
            raise SessionOver
        second = await self._second_factor.prove(credentials, code, origin)
        new = new_secret()
        command = StepUp(sub, credentials.user.enabled, digest(new), second.methods, second.with_recovery_code)
        context = Context(f"user:{sub}", correlation_id, new_command_id())
        as_of = AsOf(session.user.epoch, {_SOURCE: session.position})

        async def guarding(_: Stream) -> Guards:
            return _using(second, Fence(as_of, _parties(sub, session.sid)))

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
        if user.totp_since is None or not may_sign_in(user.kind, enabled=user.enabled):
            raise SignInOver
        return credentials

    async def _using_up(self, second: SecondProof, sub: str, writing: Awaitable[T]) -> T:
        """Write what a code is for; one that another request used in the same moment is a wrong one."""
        try:
            written = await writing
        except (AlreadyUsed, NameTaken):
            raise self._second_factor.wrong(sub) from None
        await self._second_factor.accepted(second)
        return written

    async def _open(self, proof: "_Proof", session_secret: str | None, origin: Origin, correlation_id: str) -> str:
        """Begin a session or go on with the one that the browser has; answers the secret of its cookie."""
        sub = proof.credentials.user.sub
        context = Context(f"user:{sub}", correlation_id, new_command_id())
        new = new_secret()
        current = await self.current(session_secret)
        if current is None or current.user.sub != sub:
            await self._start(new, proof, origin, context)
        elif not await self._again(current.sid, new, proof, context):
            await self._start(new, proof, origin, replace(context, command_id=new_command_id()))
        return new

    async def _start(self, secret: str, proof: "_Proof", origin: Origin, context: Context) -> None:
        now = self._clock()
        sid = new_ordered_id()

        async def command() -> StartSession:
            credentials = await proof.fresh()
            return StartSession(
                sid=sid,
                sub=credentials.user.sub,
                kind=credentials.user.kind,
                enabled=credentials.user.enabled,
                secret_digest=digest(secret),
                auth_time=now,
                amr=proof.methods,
                expires_at=now + self._lifetimes.absolute,
                address=origin.address,
                user_agent=origin.user_agent,
                with_recovery_code=proof.with_recovery_code,
            )

        await self._append(sid, command, proof, context, now)

    async def _again(self, sid: str, secret: str, proof: "_Proof", context: Context) -> bool:
        """Go on with a session; False if it has ended since it was looked at."""
        now = self._clock()

        async def command() -> Reauthenticate:
            credentials = await proof.fresh()
            return Reauthenticate(
                sub=credentials.user.sub,
                enabled=credentials.user.enabled,
                secret_digest=digest(secret),
                auth_time=now,
                amr=proof.methods,
                with_recovery_code=proof.with_recovery_code,
            )

        try:
            await self._append(sid, command, proof, context, now)
        except SessionOver:
            return False
        return True

    async def _append(
        self,
        sid: str,
        command: Callable[[], Awaitable[StartSession | Reauthenticate]],
        proof: "_Proof",
        context: Context,
        now: datetime,
    ) -> None:
        async def guarding(_: Stream) -> Guards:
            known = proof.credentials
            wrapped = known.wrapped_key
            # A password changed or a user disabled since the password was looked at stops this.
            fence = Fence(AsOf(known.user.epoch, {_SOURCE: known.user.position}), _parties(known.user.sub, sid))
            key = None if wrapped is None else self._keys.unwrap(known.user.sub, wrapped)
            return _using(proof.second, fence, key, Put(ACTIVITY, {"sid": sid, "seen_at": now}))

        await handle(self._log, SESSION, sid, command, context=context, project=project, guarding=guarding)


class _Proof:
    """Credentials that were proved; looked at anew if the append was refused because something changed."""

    def __init__(
        self,
        credentials: Credentials,
        prove: Callable[[], Awaitable[Credentials]],
        second: SecondProof | None = None,
    ) -> None:
        self.credentials = credentials
        self.second = second
        self._prove = prove
        self._used = False

    @property
    def methods(self) -> tuple[str, ...]:
        """How it was proved (RFC 8176)."""
        return PASSWORD_METHODS if self.second is None else self.second.methods

    @property
    def with_recovery_code(self) -> bool:
        """A recovery code stood in for the second factor."""
        return self.second is not None and self.second.with_recovery_code

    async def fresh(self) -> Credentials:
        """The credentials to decide on in this attempt."""
        if self._used:
            self.credentials = await self._prove()
        self._used = True
        return self.credentials


def _password_proved(user: UserRow) -> PasswordProved:
    return PasswordProved(user.sub, user.epoch, user.position)


def _parties(sub: str, sid: str) -> tuple[tuple[DenialKind, str], ...]:
    return (DenialKind.SUBJECT, sub), (DenialKind.SUBJECT_SESSIONS, sub), (DenialKind.SESSION, sid)


def _using(second: SecondProof | None, fence: Fence, key: bytes | None = None, *rows: RowChange) -> Guards:
    """What has to hold for a sign-in, and what it uses up."""
    if second is None:
        return Guards(fence=fence, personal_key=key, rows=rows)
    return Guards(fence=fence, personal_key=key, names=second.names, once=second.once, rows=(*rows, *second.rows))
