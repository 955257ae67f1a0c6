"""Sessions: signing in, proving it again, finding the session of a cookie, ending it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msgspec.structs import replace

from services.identity.domain.names import normalised
from services.identity.domain.session import (
    SESSION,
    EndSession,
    Reauthenticate,
    SessionOver,
    StartSession,
    may_sign_in,
)
from services.identity.events import SessionEndReason
from services.identity.failed_sign_ins import FailedSignIns
from services.identity.passwords import Passwords
from services.identity.personal_keys import PersonalKeyRing
from services.identity.read_model import ACTIVITY, Credentials, Questions, SessionRow, project
from services.identity.throttle import Throttle, Throttled
from shared.clock import Clock
from shared.denials import LONGEST_ACCESS_TOKEN, DenialKind
from shared.errors import Kind, Refusal
from shared.handle import Guards, handle
from shared.ids import digest, new_command_id, new_ordered_id, new_secret
from shared.log.append import AsOf, Context, Fence
from shared.log.event import Delete, Put
from shared.log.log import Log, Stream
from shared.telemetry import logger

_log = logger(__name__)

PASSWORD_METHODS = ("pwd",)
"""Authentication methods of a sign-in by password (RFC 8176)."""
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


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things last."""

    idle: timedelta
    absolute: timedelta


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sign-in comes from."""

    address: str
    user_agent: str | None
    device_cookie: str | None


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
        failures: FailedSignIns,
        clock: Clock,
        lifetimes: Lifetimes,
    ) -> None:
        self._log = log
        self._questions = questions
        self._keys = keys
        self._passwords = passwords
        self._throttle = throttle
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

    async def sign_in(self, presented: Presented, origin: Origin, correlation_id: str) -> Opened:
        """Begin a session for whoever proves to be this user; or go on with the one there is, if it is the same user's.

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
        if presented.expected_sub not in ("", credentials.user.sub):
            raise AnotherAccount
        context = Context(f"user:{credentials.user.sub}", correlation_id, new_command_id())
        new = new_secret()
        proof = _Proof(credentials, lambda: self._proved(name, password))
        current = await self.current(presented.session_secret)
        if current is None or current.user.sub != credentials.user.sub:
            await self._start(new, proof, origin, context)
        elif not await self._again(current.sid, new, proof, context):
            await self._start(new, proof, origin, replace(context, command_id=new_command_id()))
        return Opened(credentials.user.sub, new, self._throttle.remember(origin.device_cookie, attempt))

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
                amr=PASSWORD_METHODS,
                expires_at=now + self._lifetimes.absolute,
                address=origin.address,
                user_agent=origin.user_agent,
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
                amr=PASSWORD_METHODS,
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
            return Guards(
                # A password changed or a user disabled since the password was looked at stops this.
                fence=Fence(
                    AsOf(known.user.epoch, {_SOURCE: known.user.position}),
                    (
                        (DenialKind.SUBJECT, known.user.sub),
                        (DenialKind.SUBJECT_SESSIONS, known.user.sub),
                        (DenialKind.SESSION, sid),
                    ),
                ),
                personal_key=None if wrapped is None else self._keys.unwrap(known.user.sub, wrapped),
                rows=(Put(ACTIVITY, {"sid": sid, "seen_at": now}),),
            )

        await handle(self._log, SESSION, sid, command, context=context, project=project, guarding=guarding)


class _Proof:
    """Credentials that were proved; looked at anew if the append was refused because something changed."""

    def __init__(self, credentials: Credentials, prove: Callable[[], Awaitable[Credentials]]) -> None:
        self.credentials = credentials
        self._prove = prove
        self._used = False

    async def fresh(self) -> Credentials:
        """The credentials to decide on in this attempt."""
        if self._used:
            self.credentials = await self._prove()
        self._used = True
        return self.credentials
