"""A user's second factor: set up, turned off, its recovery codes replaced; taken away by an administrator.

Who does any of it to their own account proves the password anew, so that a screen that was left unlocked is not enough;
and, where there is a factor already, the factor too.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from services.identity.domain.names import normalised
from services.identity.domain.user import (
    USER,
    AddSecondFactor,
    Command,
    RemoveSecondFactor,
    ReplaceRecoveryCodes,
    ResetSecondFactor,
)
from services.identity.events import SecondFactorKind, SecondFactorReset
from services.identity.origin import Origin
from services.identity.own_passkeys import OwnPasskeys, SignInAgain
from services.identity.passwords import Passwords
from services.identity.proofs import SecondProof
from services.identity.read_model import PASSKEY_CREDENTIALS, TOTP, VAULT, Credentials, Questions, SessionRow, project
from services.identity.recovery_codes import RecoveryCodes, forgetting
from services.identity.second_factor import SecondFactor
from services.identity.sessions import SignInOver, WrongCredentials
from services.identity.throttle import Throttle
from services.identity.totp import Seed, Seeds
from shared.denials import DenialKind
from shared.errors import Kind, Refusal
from shared.handle import Guards, handle
from shared.log.append import AlreadyUsed, AsOf, Context, Fence, NameTaken
from shared.log.event import Delete, Put, RowChange
from shared.log.log import Log, Stream

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SettingUp:
    """A seed that a user was shown, after they proved the password, in one of their sessions."""

    sub: str
    sid: str
    epoch: int
    position: int
    """Of the user's last fact then, in that epoch of the log."""
    seed: Seed = field(repr=False)


class OwnSecondFactor:
    """What can be done with it."""

    def __init__(  # noqa: PLR0913  (what it is made of)
        self,
        log: Log,
        *,
        questions: Questions,
        passwords: Passwords,
        throttle: Throttle,
        second_factor: SecondFactor,
        seeds: Seeds,
        recovery_codes: RecoveryCodes,
        own_passkeys: OwnPasskeys,
    ) -> None:
        self._log = log
        self._questions = questions
        self._passwords = passwords
        self._throttle = throttle
        self._second_factor = second_factor
        self._seeds = seeds
        self._recovery_codes = recovery_codes
        self._own_passkeys = own_passkeys

    async def recovery_codes_left(self, sub: str) -> int:
        """How many there are that were not used."""
        return len(await self._questions.recovery_codes(sub))

    async def begin(self, session: SessionRow, password: str, origin: Origin) -> SettingUp:
        """A new seed, to be shown. Nothing is kept. Raises `WrongCredentials`, `Throttled`.

        Where there are passkeys the password alone is not enough for it: raises `SignInAgain`.
        """
        user = (await self._knowing(session, password, origin)).user
        if user.has_passkeys and not self._own_passkeys.may_change(session):
            raise SignInAgain
        return SettingUp(user.sub, session.sid, user.epoch, user.position, self._seeds.new())

    async def add(
        self, session: SessionRow, begun: SettingUp, code: str, origin: Origin, context: Context
    ) -> tuple[str, ...]:
        """Turn it on, now that the user's application shows right codes; answers the recovery codes, once.

        Where there are passkeys there are recovery codes already: then it answers none.

        Raises `SignInOver` if the account has changed since it was begun, `WrongCode`, `Throttled`.
        """
        user = session.user
        if (begun.sub, begun.sid, begun.epoch, begun.position) != (user.sub, session.sid, user.epoch, user.position):
            raise SignInOver
        proof = await self._second_factor.prove_new(user.sub, user.user_name, begun.seed, code, origin)
        shown, rows = ((), ()) if user.has_passkeys else self._recovery_codes.new(user.sub)
        seed = Put(VAULT, {"sub": user.sub, "kind": TOTP, "value": self._seeds.seal(user.sub, begun.seed)})
        command = AddSecondFactor(SecondFactorKind.TOTP, session.sid)
        await self._using_up(proof, user.sub, self._carry_out(session, command, context, proof, seed, *rows))
        return shown

    async def remove(self, session: SessionRow, password: str, code: str, origin: Origin, context: Context) -> None:
        """Turn it off. Raises `WrongCredentials`, `WrongCode`, `Throttled`."""
        proof = await self._proving(session, password, code, origin)
        command = RemoveSecondFactor(proof.with_recovery_code, session.sid)
        gone: tuple[RowChange, ...] = (Delete(VAULT, {"sub": session.user.sub, "kind": TOTP}),)
        if not session.user.has_passkeys:
            gone += forgetting(session.user.sub)
        await self._using_up(proof, session.user.sub, self._carry_out(session, command, context, proof, *gone))

    async def replace_recovery_codes(
        self, session: SessionRow, password: str, code: str, origin: Origin, context: Context
    ) -> tuple[str, ...]:
        """New ones, answered once; those of before open nothing.

        Raises `WrongCredentials`, `WrongCode`, `Throttled`.
        """
        proof = await self._proving(session, password, code, origin)
        shown, rows = self._recovery_codes.new(session.user.sub)
        command = ReplaceRecoveryCodes(proof.with_recovery_code)
        await self._using_up(proof, session.user.sub, self._carry_out(session, command, context, proof, *rows))
        return shown

    async def reset(self, sub: str, context: Context) -> int:
        """Take it away for somebody else, with all passkeys; whatever the account gave before ends.

        Answers the position.
        """
        vault = Delete(VAULT, {"sub": sub, "kind": TOTP})
        rows = (vault, Delete(PASSKEY_CREDENTIALS, {"sub": sub}), *forgetting(sub))

        async def guarding(_: Stream) -> Guards:
            return Guards(rows=rows)

        handled = await handle(
            self._log, USER, sub, ResetSecondFactor(), context=context, project=project, guarding=guarding
        )
        if not all(isinstance(event, SecondFactorReset) for event in handled.events):
            raise Refusal(Kind.CONFLICT, "idempotency_key_reused", "the idempotency key was used for another command")
        return handled.position

    async def _proving(self, session: SessionRow, password: str, code: str, origin: Origin) -> SecondProof:
        credentials = await self._knowing(session, password, origin)
        return await self._second_factor.prove(credentials, code, origin)

    async def _knowing(self, session: SessionRow, password: str, origin: Origin) -> Credentials:
        """The user of the session, if they know the password, and nothing else has changed about them."""
        user = session.user
        attempt = await self._throttle.admit(normalised(user.user_name), origin.device_cookie, origin.address)
        credentials = await self._questions.credentials_of(user.sub)
        right = await self._passwords.verify(None if credentials is None else credentials.password_hash, password)
        if credentials is None or not right:
            raise WrongCredentials
        await self._throttle.succeeded(attempt)
        if not credentials.user.is_as_of(user.epoch, user.position):
            raise SignInOver
        return credentials

    async def _using_up(self, proof: SecondProof, sub: str, writing: Awaitable[None]) -> None:
        try:
            await writing
        except (AlreadyUsed, NameTaken):
            raise self._second_factor.lost(proof, sub) from None
        await self._second_factor.accepted(proof)

    async def _carry_out(
        self, session: SessionRow, command: Command, context: Context, proof: SecondProof, *rows: RowChange
    ) -> None:
        sub = session.user.sub
        # Whoever has lost the session, or the account, meanwhile changes nothing any more.
        parties = (
            (DenialKind.SUBJECT, sub),
            (DenialKind.SUBJECT_SESSIONS, sub),
            (DenialKind.SESSION, session.sid),
        )
        fence = Fence(AsOf(session.user.epoch, {"identity": session.position}), parties)

        async def guarding(_: Stream) -> Guards:
            return Guards(fence=fence, once=proof.once, names=proof.names, rows=(*proof.rows, *rows))

        await handle(self._log, USER, sub, command, context=context, project=project, guarding=guarding)
