"""Passkeys (WebAuthn): asking a browser for one, and what its answer proves.

A ceremony is one question to one browser: a random challenge, sealed into the page that asks, with what it is for and
who is there. Nothing is used up by looking: the challenge goes into the append of what the answer is for, so one answer
opens one thing, at one replica.
"""

from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from os import urandom

from services.identity.domain.names import normalised
from services.identity.domain.session import PASSWORD_METHODS, may_sign_in, passkey_methods
from services.identity.events import PasskeyCounterWentBack
from services.identity.failed_sign_ins import FailedSignIns
from services.identity.origin import Origin
from services.identity.passkey_rows import PasskeyCredential, PasskeyQuestions
from services.identity.proofs import SecondProof
from services.identity.read_model import PASSKEY_CREDENTIALS, Credentials, Questions, UserRow
from services.identity.relying_party import Assertion, NewCredential, NotVerifiedError, RelyingParty, asserted
from services.identity.throttle import Attempt, Throttle, Throttled
from shared.clock import Clock
from shared.errors import Kind, Refusal
from shared.ids import keyed_digest, new_command_id, new_ordered_id, same
from shared.keys import MasterKey
from shared.log.append import AlreadyUsed, Append, Context, Name, OnceKey
from shared.log.event import Patch
from shared.log.log import Log
from shared.telemetry import correlation, new_correlation

_CHALLENGE_BYTES = 32
"""Section 13.4.3 asks for 16 at least."""
_REMEMBERED = timedelta(days=1)
"""For how long it is known that a challenge was used: far longer than any page that asks can be used."""


class Purpose(StrEnum):
    """What a passkey is asked for; an answer for one is none for another."""

    ADD = "add"
    SIGN_IN = "sign_in"
    SECOND_FACTOR = "second_factor"
    STEP_UP = "step_up"


@dataclass(frozen=True, slots=True)
class Ceremony:
    """One question to one browser."""

    purpose: Purpose
    about: str
    """The user or the session that it is for; empty: whoever answers."""
    begun_at: datetime
    challenge: bytes = field(repr=False)
    name: str = ""
    """What a passkey that is being made is to be called."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a browser answered to it."""

    ceremony: Ceremony
    answer: str = field(repr=False)


class WrongPasskey(Refusal):
    """One answer for everything: nobody's, another's, a wrong signature, one that was used before."""

    def __init__(self) -> None:
        super().__init__(
            Kind.UNAUTHENTICATED, "wrong_passkey", "That passkey opens nothing here, or it took too long. Try again."
        )


class NoPasskeysHere(Refusal):
    """Browsers know none for the address of this server."""

    def __init__(self) -> None:
        super().__init__(
            Kind.NOT_FOUND, "no_passkeys_here", "Passkeys need https and a name: there are none at this address."
        )


class Passkeys:
    """Asks for passkeys, and looks at answers."""

    def __init__(  # noqa: PLR0913  (what it is made of)
        self,
        log: Log,
        *,
        party: RelyingParty | None,
        users: Questions,
        throttle: Throttle,
        failures: FailedSignIns,
        master: MasterKey,
        clock: Clock,
    ) -> None:
        self._log = log
        self._party = party
        self._users = users
        self._questions = PasskeyQuestions(log.pool)
        self._throttle = throttle
        self._failures = failures
        self._key = master.derive("passkeys")
        self._clock = clock

    @property
    def offered(self) -> bool:
        """Whether there can be any at the address of this server."""
        return self._party is not None

    @property
    def party(self) -> RelyingParty:
        """Raises `NoPasskeysHere`."""
        if self._party is None:
            raise NoPasskeysHere
        return self._party

    def begin(self, purpose: Purpose, about: str = "", name: str = "") -> Ceremony:
        """A new question."""
        at = datetime.fromtimestamp(int(self._clock().timestamp()), self._clock().tzinfo)
        return Ceremony(purpose, about, at, urandom(_CHALLENGE_BYTES), name)

    async def to_get(self, ceremony: Ceremony, sub: str = "") -> str:
        """What the browser is told. Without `sub` no passkey is named, so it tells nothing of any account."""
        allowed = await self._questions.credential_ids(sub) if sub else ()
        return self.party.to_get(ceremony.challenge, allowed)

    async def to_create(self, ceremony: Ceremony, user: UserRow) -> str:
        """What the browser is told to make one for this user."""
        return self.party.to_create(
            ceremony.challenge,
            handle=user.sub.encode(),
            name=user.user_name,
            shown_name=user.shown_name,
            known=await self._questions.credential_ids(user.sub),
        )

    def made(self, answered: Answered) -> NewCredential:
        """The credential that was made. Raises `WrongPasskey`."""
        try:
            return self.party.created(answered.answer, answered.ceremony.challenge)
        except NotVerifiedError:
            raise WrongPasskey from None

    def taken(self, credential_id: bytes) -> Name:
        """What the append takes so that a credential is one user's alone, for ever (section 7.1, step 27)."""
        return Name(keyed_digest(self._key, "credential", b64encode(credential_id).decode()))

    def used(self, ceremony: Ceremony) -> OnceKey:
        """What the append takes so that the challenge is answered once."""
        made = keyed_digest(self._key, "challenge", b64encode(ceremony.challenge).decode())
        return OnceKey(made, ceremony.begun_at + _REMEMBERED)

    async def prove(self, answered: Answered, origin: Origin) -> tuple[Credentials, SecondProof]:
        """Whoever the passkey belongs to, if they may sign in by it. Raises `WrongPasskey`, `Throttled`."""
        attempt = await self._admit(origin)
        try:
            assertion = asserted(answered.answer)
        except NotVerifiedError:
            raise self._wrong(None) from None
        found = await self._questions.by_credential(assertion.credential_id)
        if found is None:
            raise self._wrong(None)
        credentials, known = found
        user = credentials.user
        # Who is meant was said by nobody before, so the authenticator has to say it, too (section 7.2, step 6).
        if assertion.user_handle is None or not same(assertion.user_handle, user.sub.encode()):
            raise self._wrong(user.sub)
        try:
            count = await self._verified(answered.ceremony, assertion, user.sub, known)
        except NotVerifiedError:
            raise self._wrong(user.sub) from None
        if not may_sign_in(user.kind, enabled=user.enabled):
            raise self._wrong(user.sub)
        return credentials, self._proof(attempt, user, answered.ceremony, known=known, count=count)

    async def prove_second(self, user: UserRow, answered: Answered, origin: Origin) -> SecondProof:
        """After the password of this user. Raises `WrongPasskey`, `Throttled`."""
        attempt = await self._admit(origin)
        try:
            assertion = asserted(answered.answer)
        except NotVerifiedError:
            raise self.wrong_second(user.sub) from None
        found = await self._questions.by_credential(assertion.credential_id)
        if found is None or found[0].user.sub != user.sub:
            raise self.wrong_second(user.sub)
        if assertion.user_handle is not None and not same(assertion.user_handle, user.sub.encode()):
            raise self.wrong_second(user.sub)
        try:
            count = await self._verified(answered.ceremony, assertion, user.sub, found[1])
        except NotVerifiedError:
            raise self.wrong_second(user.sub) from None
        return self._proof(attempt, user, answered.ceremony, known=found[1], count=count, before=PASSWORD_METHODS)

    async def still(self, sub: str, passkey_id: str) -> Credentials:
        """The user whose passkey it was, if it still is and they may sign in. Raises `WrongPasskey`."""
        credentials = await self._users.credentials_of(sub)
        there = any(one.passkey_id == passkey_id for one in await self._questions.of(sub))
        if credentials is None or not there or not may_sign_in(credentials.user.kind, enabled=credentials.user.enabled):
            raise WrongPasskey
        return credentials

    def wrong_second(self, sub: str) -> WrongPasskey:
        """The password was right, and the passkey was not; to be raised."""
        self._failures.wrong_second_factor(sub)
        return WrongPasskey()

    def _wrong(self, sub: str | None) -> WrongPasskey:
        self._failures.wrong(sub)
        return WrongPasskey()

    async def _admit(self, origin: Origin) -> Attempt:
        try:
            return await self._throttle.admit_passkey(origin.address)
        except Throttled:
            self._failures.not_looked_at()
            raise

    async def _verified(self, ceremony: Ceremony, assertion: Assertion, sub: str, known: PasskeyCredential) -> int:
        """The counter that was signed. Raises `NotVerifiedError`, `WrongPasskey`."""
        count = self.party.verified(assertion, ceremony.challenge, known)
        # Zero, always: the authenticator does not count (section 6.1.1).
        if (count or known.sign_count) and count <= known.sign_count:
            await self._went_back(ceremony, sub, known, count)
            raise WrongPasskey
        return count

    async def _went_back(self, ceremony: Ceremony, sub: str, known: PasskeyCredential, told: int) -> None:
        """Write that there may be a copy; once for each question, so that nobody fills the log with one answer."""
        event = PasskeyCounterWentBack(sub=sub, passkey_id=known.passkey_id, known=known.sign_count, told=told)
        context = Context("service:identity", correlation.get() or new_correlation(), new_command_id())
        append = Append(
            stream=f"failures-{new_ordered_id()}",
            expected_version=None,
            events=(event,),
            context=context,
            once=(self.used(ceremony),),
        )
        try:
            await self._log.append(append)
        except AlreadyUsed:
            return

    def _proof(  # noqa: PLR0913  (what it is made of)
        self,
        attempt: Attempt,
        user: UserRow,
        ceremony: Ceremony,
        *,
        known: PasskeyCredential,
        count: int,
        before: tuple[str, ...] = (),
    ) -> SecondProof:
        used = Patch(
            PASSKEY_CREDENTIALS,
            # Of two uses side by side the later may be written first, and then stays.
            {"passkey_id": known.passkey_id, "sign_count": known.sign_count},
            {"sign_count": count, "used_at": self._clock()},
        )
        return SecondProof(
            self._throttle.of_account(attempt, normalised(user.user_name)),
            (*before, *passkey_methods(backup_eligible=known.backup_eligible)),
            passkey_id=known.passkey_id,
            once=(self.used(ceremony),),
            rows=(used,),
        )
