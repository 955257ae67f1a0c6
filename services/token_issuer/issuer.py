"""What the parts of the issuer share, and the one way in which they come from a request to an answer."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from services.token_issuer.keys import KeyRing
from services.token_issuer.read_model import Questions, project
from services.token_issuer.refreshing import RefreshTokens
from services.token_issuer.same_as_before import SameAsBefore
from services.token_issuer.scopes import Terms
from services.token_issuer.sealing import Sealing
from services.token_issuer.settings import Policy
from shared.clock import Clock
from shared.errors import Refusal, Unavailable
from shared.handle import ATTEMPTS, rows_of
from shared.http.attempts import USUAL, Attempts
from shared.http.client_address import LOOPBACK, ClientAddresses
from shared.ids import new_command_id
from shared.log.append import Append, Appended, Context, Fence, Fenced, LogUnavailable, VersionConflict
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

    async def reach(self, position: int) -> None:
        """Wait until the view is complete up to a position; raises `Unavailable`."""


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
    policy: Policy
    clock: Clock
    allowance: Allowance = field(default_factory=Allowance)
    own_terms: SameAsBefore[Terms] = field(default_factory=SameAsBefore)
    """Of client credentials."""
    attempts: Attempts = field(default_factory=lambda: Attempts(ClientAddresses(LOOPBACK), USUAL))

    async def patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try; on a miss bring the view up to the head of the log, and try once more."""
        try:
            return await attempt()
        except Refusal as refusal:
            if refusal.code not in MISSES or not self.allowance.take():
                raise
            try:
                await self.following.reach((await self.log.head()).position)
            except LogUnavailable:
                raise
            except Unavailable:
                raise refusal from None
        return await attempt()

    async def write(self, decide: Callable[[], Awaitable[tuple[T, Append | None]]]) -> tuple[T, Appended | None]:
        """Decide and append; again if somebody was faster, or a party was denied that the decision had not heard of.

        `decide` reads what is known now, and answers what it decided and what to append, None for nothing.
        """
        for _attempt in range(ATTEMPTS):
            decided, append = await decide()
            if append is None:
                return decided, None
            try:
                return decided, await self.log.append(append)
            except VersionConflict:
                continue
            except Fenced as fenced:
                if fenced.source == OWN:
                    await self.keys.look()
                else:
                    await self.following.catch_up(fenced.source, fenced.position)
        raise Unavailable("busy", "too many changes to the same thing at once; try again")


def append_of(
    stream: str, version: int | None, events: Sequence[Event], context: Context, fence: Fence | None = None
) -> Append:
    """The append of these events, with the rows that follow from them."""
    rows = rows_of(project, events, stream, version or 0, context)
    return Append(stream, version, tuple(events), context, rows=rows, fence=fence)


def on_behalf_of(client_id: str) -> Context:
    """The context of a request that a client makes by itself."""
    return Context(f"client:{client_id}", correlation.get() or new_correlation(), new_command_id())
