"""What the parts of the issuer share, and the one way in which they come from a request to an answer."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeGuard, TypeVar

from msgspec.structs import replace

from services.registry.events import AuthMethod
from services.token_issuer import fapi
from services.token_issuer.assertions.assertion import Assertion
from services.token_issuer.assertions.keys import ClientKeys
from services.token_issuer.authorization.device_codes import UserCodes
from services.token_issuer.client_certificates import METHODS, MutualTls
from services.token_issuer.clients import (
    Presented,
    authenticate,
    authenticate_by_assertion,
    authenticate_by_certificate,
    invalid_client,
)
from services.token_issuer.domain import assertion as used
from services.token_issuer.domain import proof
from services.token_issuer.key_proof import KeyProof, used_proof
from services.token_issuer.keys import KeyRing
from services.token_issuer.read_model import Questions, project
from services.token_issuer.refreshing import RefreshTokens
from services.token_issuer.same_as_before import SameAsBefore
from services.token_issuer.scopes import Terms
from services.token_issuer.sealing import Sealing
from services.token_issuer.settings import Policy
from services.token_issuer.views import Application
from shared.clock import Clock
from shared.errors import Kind, Refusal, Unavailable
from shared.handle import ATTEMPTS, rows_of
from shared.http.attempts import USUAL, Attempts
from shared.http.client_address import LOOPBACK, ClientAddresses
from shared.ids import new_command_id, new_ordered_id
from shared.log.append import (
    AlreadyUsed,
    Append,
    Appended,
    Context,
    EpochOver,
    Fence,
    Fenced,
    VersionConflict,
)
from shared.log.event import Event
from shared.log.log import Log
from shared.telemetry import correlation, new_correlation

T = TypeVar("T")

MISSES = frozenset({"invalid_client", "invalid_redirect_uri", "invalid_scope", "invalid_target", "unauthorized_client"})
"""Refusals that may only mean that something was created elsewhere a moment ago."""

_MISSES_PER_SECOND = 20.0
OWN = "token_issuer"
"""The source of the issuer's own facts. Of these only a compromised key is a party of a fence."""


class Following(Protocol):
    """What the issuer needs of its follower (`shared.messaging`)."""

    async def catch_up(self, source: str, position: int) -> None:
        """Bring the view of a source up to a position; raises `Unavailable`."""

    @property
    def complete_to(self) -> int:
        """The position up to which the view is complete by now."""

    @property
    def epoch(self) -> int:
        """The epoch of the log that this is a position of."""

    async def reach(self, position: int, epoch: int | None = None) -> None:
        """Wait until the view is complete up to a position, of an epoch if that is known; raises `Unavailable`."""


class Allowance:
    """Bounds how often strangers can make the issuer look for what it does not know."""

    def __init__(self, per_second: float = _MISSES_PER_SECOND, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._clock = clock
        self._left = per_second
        self._at = clock()

    def take(self) -> bool:
        """Use one, if there is one left."""
        now = self._clock()
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(frozen=True, slots=True)
class Issuer:
    """The issuer's parts."""

    log: Log
    questions: Questions
    following: Following
    keys: KeyRing
    sealing: Sealing
    refresh_tokens: RefreshTokens
    user_codes: UserCodes
    policy: Policy
    clock: Clock
    allowance: Allowance = field(default_factory=Allowance)
    own_terms: SameAsBefore[Terms] = field(default_factory=SameAsBefore)
    """Of client credentials."""
    client_keys: ClientKeys = field(default_factory=ClientKeys)
    mutual_tls: MutualTls | None = None
    """None: no certificate of a client is believed."""
    attempts: Attempts = field(default_factory=lambda: Attempts(ClientAddresses(LOOPBACK), USUAL))

    def check_switch(self) -> None:
        """Refuse the identity service while the switch for that is off (`issue_for_identity`)."""
        if not self.policy.issue_for_identity:
            raise Refusal(Kind.FORBIDDEN, "identity_refused", "the issuer refuses the identity service at the moment")

    async def patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try; on a miss bring the view up to the head of the log, and try once more.

        Raises `Unavailable` where that does not work in time: what is not known may have been acknowledged elsewhere.
        """
        try:
            return await attempt()
        except Refusal as refusal:
            if refusal.code not in MISSES or not self.allowance.take():
                raise
            await self.hear_everything()
        return await attempt()

    async def hear_everything(self) -> None:
        """Bring the view up to the head of the log; raises `Unavailable`."""
        head = await self.log.head()
        await self.following.reach(head.position, head.epoch)

    async def authenticate(self, application: Application | None, who: Presented) -> Application:
        """The application, if it proved to be itself, in the way registered; else `invalid_client`."""
        if who.assertion is None:
            if who.certificate is not None and who.method is AuthMethod.NONE and _by_certificate(application):
                now, keys = self.clock(), self.client_keys
                return await authenticate_by_certificate(application, who, self.mutual_tls, keys, now)
            return authenticate(application, who, self.clock())
        if application is not None and not fapi.may_assert(application, who.assertion, self.policy.issuer):
            application = None  # so that it takes as long, and is answered alike
        audiences = self.policy.assertion_audiences
        return await authenticate_by_assertion(application, who.assertion, self.client_keys, audiences, self.clock())

    async def write(
        self,
        decide: Callable[[], Awaitable[tuple[T, Append | None]]],
        who: Presented | None = None,
        attempts: int = ATTEMPTS,
    ) -> tuple[T, Appended | None]:
        """Decide and append; again if somebody was faster, or a party was denied that the decision had not heard of.

        `decide` reads what is known now, and answers what it decided and what to append, None for nothing. An
        assertion of `who`, and a proof of their key, are used up in the same append; where one was before, the answer
        is `invalid_client` or `invalid_dpop_proof`.
        """
        if who is not None and (who.assertion is not None or who.key is not None):
            return await self._write_once(decide, who.client_id, who.assertion, who.key, attempts)
        for _attempt in range(attempts):
            decided, append = await decide()
            if append is None:
                return decided, None
            try:
                return decided, await self.log.append(append)
            except (VersionConflict, EpochOver):
                continue
            except Fenced as fenced:
                if fenced.source == OWN:
                    await self.keys.look()
                else:
                    await self.following.catch_up(fenced.source, fenced.position)
        raise Unavailable("busy", "too many changes to the same thing at once; try again")

    async def spend(self, assertion: Assertion | None) -> None:
        """Use up an assertion that was proved, where nothing else is appended; else `invalid_client`."""
        if assertion is None or assertion.spent:
            return

        async def decide() -> tuple[None, None]:
            return None, None

        await self._write_once(decide, assertion.client_id, assertion, None)

    async def _write_once(
        self,
        decide: Callable[[], Awaitable[tuple[T, Append | None]]],
        client_id: str,
        assertion: Assertion | None,
        key: KeyProof | None,
        attempts: int = ATTEMPTS,
    ) -> tuple[T, Appended | None]:
        """`write`, with what was shown used up; where there is nothing else to append, by an event of its own."""
        if assertion is not None and assertion.replayed:
            raise invalid_client()
        if key is not None and key.replayed:
            raise used_proof()
        nothing = False

        async def with_it() -> tuple[T, Append | None]:
            nonlocal nothing
            decided, append = await decide()
            if assertion is not None and not assertion.proved:
                raise TypeError("an assertion is used once it was proved")
            nothing = append is None
            todo = append or (use_of_proof(client_id, key) if assertion is None else use_of(assertion))
            once = tuple(shown.once for shown in (assertion, key) if shown is not None)
            return decided, replace(todo, once=(*todo.once, *once))

        try:
            decided, appended = await self.write(with_it, attempts=attempts)
        except AlreadyUsed:
            if key is not None:
                # Which of the two it was the log does not say; that of an assertion can be asked for alone.
                await self.spend(assertion)
                key.replayed = True
                raise used_proof() from None
            if assertion is not None:
                assertion.replayed = True
            raise invalid_client() from None
        if assertion is not None:
            assertion.spent = True
        return decided, None if nothing else appended


def _by_certificate(application: Application | None) -> TypeGuard[Application]:
    return application is not None and application.settings.auth_method in METHODS


def use_of_proof(client_id: str, key: KeyProof | None) -> Append:
    """The append of an event of its own for the use of a proof; `Issuer.write` adds the once-key."""
    if key is None:
        raise TypeError("there is nothing to use up")
    command = proof.Use(client_id, key.once.digest.hex(), key.once.expires_at)
    stream = proof.decider.stream(new_ordered_id())  # the id is fresh: there is no stream to look at
    return append_of(stream, None, proof.decider.decide(command, None), on_behalf_of(client_id))


def use_of(assertion: Assertion, fence: Fence | None = None) -> Append:
    """The append of an event of its own for the use of an assertion; `Issuer.write` adds the once-key."""
    command = used.Use(assertion.client_id, assertion.digest.hex(), assertion.expires_at)
    # The id is fresh: there is no stream to look at.
    return append_of(
        used.decider.stream(new_ordered_id()),
        None,
        used.decider.decide(command, None),
        on_behalf_of(assertion.client_id),
        fence,
    )


def append_of(
    stream: str, version: int | None, events: Sequence[Event], context: Context, fence: Fence | None = None
) -> Append:
    """The append of these events, with the rows that follow from them."""
    rows = rows_of(events, stream, version or 0, context, project)
    return Append(stream, version, tuple(events), context, rows=rows, fence=fence)


def on_behalf_of(client_id: str) -> Context:
    """The context of a request that a client makes by itself."""
    return Context(f"client:{client_id}", correlation.get() or new_correlation(), new_command_id())
