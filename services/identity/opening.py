"""Beginning a session for who has proved who they are, or going on with the one that their browser has."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec.structs import replace

from services.identity.domain.session import (
    PASSWORD_METHODS,
    SESSION,
    Reauthenticate,
    SessionOver,
    StartSession,
)
from services.identity.origin import Origin
from services.identity.personal_keys import PersonalKeyRing
from services.identity.proofs import SecondProof
from services.identity.read_model import ACTIVITY, Credentials, SessionRow, project
from shared.clock import Clock
from shared.denials import DenialKind
from shared.handle import Guards, handle
from shared.ids import digest, new_command_id, new_ordered_id, new_secret
from shared.log.append import AsOf, Context, Fence
from shared.log.event import Put, RowChange
from shared.log.log import Log, Stream

SOURCE = "identity"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things last."""

    idle: timedelta
    absolute: timedelta


class Proof:
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


class Opening:
    """Begins sessions, or goes on with them."""

    def __init__(self, log: Log, *, keys: PersonalKeyRing, clock: Clock, lifetimes: Lifetimes) -> None:
        self._log = log
        self._keys = keys
        self._clock = clock
        self._lifetimes = lifetimes

    async def open(self, proof: Proof, current: SessionRow | None, origin: Origin, correlation_id: str) -> str:
        """Begin a session or go on with the one that the browser has; answers the secret of its cookie.

        Raises what `Proof` raises when it is looked at anew, `AlreadyUsed` or `NameTaken` for what it uses up.
        """
        sub = proof.credentials.user.sub
        context = Context(f"user:{sub}", correlation_id, new_command_id())
        new = new_secret()
        if current is None or current.user.sub != sub:
            await self._start(new, proof, origin, context)
        elif not await self._again(current.sid, new, proof, context):
            await self._start(new, proof, origin, replace(context, command_id=new_command_id()))
        return new

    async def _start(self, secret: str, proof: Proof, origin: Origin, context: Context) -> None:
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

    async def _again(self, sid: str, secret: str, proof: Proof, context: Context) -> bool:
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
        proof: Proof,
        context: Context,
        now: datetime,
    ) -> None:
        async def guarding(_: Stream) -> Guards:
            known = proof.credentials
            wrapped = known.wrapped_key
            # A password changed or a user disabled since the password was looked at stops this.
            fence = Fence(AsOf(known.user.epoch, {SOURCE: known.user.position}), parties(known.user.sub, sid))
            key = None if wrapped is None else self._keys.unwrap(known.user.sub, wrapped)
            return using(proof.second, fence, key, Put(ACTIVITY, {"sid": sid, "seen_at": now}))

        await handle(self._log, SESSION, sid, command, context=context, project=project, guarding=guarding)


def parties(sub: str, sid: str) -> tuple[tuple[DenialKind, str], ...]:
    """Whose denials stop what is done in this session."""
    return (DenialKind.SUBJECT, sub), (DenialKind.SUBJECT_SESSIONS, sub), (DenialKind.SESSION, sid)


def using(second: SecondProof | None, fence: Fence, key: bytes | None = None, *rows: RowChange) -> Guards:
    """What has to hold for a sign-in, and what it uses up."""
    if second is None:
        return Guards(fence=fence, personal_key=key, rows=rows)
    return Guards(fence=fence, personal_key=key, names=second.names, once=second.once, rows=(*rows, *second.rows))
