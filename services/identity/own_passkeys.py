"""A person's own passkeys: added, removed, and the recovery codes that stand in for them.

Whoever does any of it has signed in a moment ago, by all that the account asks for: a screen that was left unlocked is
not enough, nor a password that somebody else knows (decision 129).
"""

from dataclasses import dataclass

from services.identity.domain.session import may_change_factors
from services.identity.domain.user import (
    USER,
    AddPasskey,
    RemovePasskey,
    ReplaceRecoveryCodes,
    User,
    valid_passkey_name,
)
from services.identity.opening import SOURCE, parties
from services.identity.passkey_rows import PasskeyQuestions, PasskeyRow
from services.identity.passkeys import Answered, Ceremony, Passkeys, Purpose, WrongPasskey
from services.identity.personal_keys import PersonalKeyRing
from services.identity.read_model import PASSKEY_CREDENTIALS, SessionRow, project
from services.identity.recovery_codes import RecoveryCodes, forgetting
from shared.clock import Clock
from shared.errors import Kind, Refusal
from shared.handle import Guards, handle
from shared.ids import new_ordered_id
from shared.log.append import AlreadyUsed, AsOf, Context, Fence, NameTaken
from shared.log.event import Delete, Put, RowChange
from shared.log.log import Log, Stream


class SignInAgain(Refusal):
    """It has been too long since the person proved who they are, or they did so by the password alone."""

    def __init__(self) -> None:
        super().__init__(Kind.PRECONDITION, "sign_in_again", "Please sign in once more to go on.")


class PasskeyTaken(Refusal):
    """The credential is known already, whoever has it."""

    def __init__(self) -> None:
        super().__init__(Kind.ALREADY_EXISTS, "passkey_taken", "That passkey was added before. Use another one.")


@dataclass(frozen=True, slots=True)
class Asked:
    """A ceremony that has begun, and what the browser is told."""

    ceremony: Ceremony
    options: str


class OwnPasskeys:
    """What can be done with them. All but looking raises `SignInAgain`."""

    def __init__(
        self,
        log: Log,
        *,
        passkeys: Passkeys,
        keys: PersonalKeyRing,
        recovery_codes: RecoveryCodes,
        clock: Clock,
    ) -> None:
        self._log = log
        self._questions = PasskeyQuestions(log.pool)
        self._passkeys = passkeys
        self._keys = keys
        self._recovery_codes = recovery_codes
        self._clock = clock

    async def of(self, sub: str) -> list[PasskeyRow]:
        """A person's passkeys, in the order in which they were added."""
        return await self._questions.of(sub)

    def may_change(self, session: SessionRow) -> bool:
        """Whether the person has proved enough, recently enough."""
        return may_change_factors(
            session.auth_time, session.amr, self._clock(), has_second_factor=session.user.has_second_factor
        )

    async def begin(self, session: SessionRow, name: str) -> Asked:
        """Ask the browser to make one. Raises `Refusal` INVALID for a name that is none, `NoPasskeysHere`."""
        self._check(session)
        ceremony = self._passkeys.begin(Purpose.ADD, session.sid, valid_passkey_name(name))
        return Asked(ceremony, await self._passkeys.to_create(ceremony, session.user))

    async def add(self, session: SessionRow, answered: Answered, context: Context) -> tuple[str, ...]:
        """Add the one that the browser made. Answers recovery codes, once, if it is the first second factor there is.

        Raises `WrongPasskey`, `PasskeyTaken`, `Refusal` PRECONDITION if there are too many.
        """
        self._check(session)
        ceremony = answered.ceremony
        if ceremony.purpose is not Purpose.ADD or ceremony.about != session.sid:
            raise WrongPasskey
        made = self._passkeys.made(answered)
        sub, passkey_id = session.user.sub, new_ordered_id()
        shown, codes = self._recovery_codes.new(sub)
        credential = Put(
            PASSKEY_CREDENTIALS,
            {
                "passkey_id": passkey_id,
                "sub": sub,
                "credential_id": made.credential_id,
                "public_key": made.public_key,
                "sign_count": made.sign_count,
                "used_at": None,
            },
        )
        first = False

        async def guarding(stream: Stream) -> Guards:
            nonlocal first
            first = not _user(stream).password_is_not_enough
            return Guards(
                fence=_fence(session),
                names=(self._passkeys.taken(made.credential_id),),
                once=(self._passkeys.used(ceremony),),
                personal_key=(await self._keys.keys([sub])).get(sub),
                rows=(credential, *codes) if first else (credential,),
            )

        command = AddPasskey(passkey_id, ceremony.name, made.backup_eligible, session.sid)
        try:
            await handle(self._log, USER, sub, command, context=context, project=project, guarding=guarding)
        except NameTaken:
            raise PasskeyTaken from None
        except AlreadyUsed:
            raise WrongPasskey from None
        return shown if first else ()

    async def remove(self, session: SessionRow, passkey_id: str, context: Context) -> None:
        """Let it open nothing any more; recovery codes go with the last second factor."""
        self._check(session)
        sub = session.user.sub

        async def guarding(stream: Stream) -> Guards:
            user = _user(stream)
            last = user.second_factor is None and set(user.passkeys) == {passkey_id}
            gone: tuple[RowChange, ...] = (Delete(PASSKEY_CREDENTIALS, {"passkey_id": passkey_id, "sub": sub}),)
            return Guards(fence=_fence(session), rows=(*gone, *forgetting(sub)) if last else gone)

        command = RemovePasskey(passkey_id, session.sid)
        await handle(self._log, USER, sub, command, context=context, project=project, guarding=guarding)

    async def replace_recovery_codes(self, session: SessionRow, context: Context) -> tuple[str, ...]:
        """New ones, answered once; those of before open nothing. Raises `Refusal` if there is no second factor."""
        self._check(session)
        shown, rows = self._recovery_codes.new(session.user.sub)

        async def guarding(_: Stream) -> Guards:
            return Guards(fence=_fence(session), rows=rows)

        await handle(
            self._log,
            USER,
            session.user.sub,
            ReplaceRecoveryCodes(with_recovery_code=False),
            context=context,
            project=project,
            guarding=guarding,
        )
        return shown

    def _check(self, session: SessionRow) -> None:
        if not self.may_change(session):
            raise SignInAgain


def _user(stream: Stream) -> User:
    """As the command will be decided on: what goes with it is told from the same facts."""
    return USER.fold(recorded.event for recorded in stream.events)


def _fence(session: SessionRow) -> Fence:
    """Whoever has lost the session, or the account, meanwhile changes nothing any more."""
    as_of = AsOf(session.user.epoch, {SOURCE: session.position})
    return Fence(as_of, parties(session.user.sub, session.sid))
