"""The check itself.

    guard.check      at once, from what this process knows; what it does not know it does not guess
    guard.validate   the same, and where that is not enough it waits briefly, or asks the issuer

A warm check is a hash, a look-up, two comparisons of time and a handful of look-ups among the denials.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from hashlib import sha256
from types import TracebackType
from typing import Literal, Self

from stagedoor import token as tokens
from stagedoor.clock import since_boot
from stagedoor.denials import DenialView
from stagedoor.feed import Feed, Online, OnlineError
from stagedoor.keys import KeySource
from stagedoor.token import AccessToken
from stagedoor.verdict import TEMPORARY, Allowed, Denied, Reason, Verdict, denied

_log = logging.getLogger("stagedoor.guard")

_KEYS_EVERY = 300.0
"""Seconds between two looks at the issuer's keys, so that one that is gone is forgotten."""
_KEYS_RETRY = 1.0
"""Seconds until the next attempt while no keys are known."""
_PRUNE_EVERY = 60.0
_MAY_BE_LIFTED = frozenset({Reason.DENIED_CLIENT, Reason.DENIED_SUBJECT})
"""What a view says that has not come far enough: since then the application or the user may have been enabled."""


class Guard:
    """Checks access tokens of one issuer for one resource.

    It has to be running to be of use: `async with guard:`, or `guard.run()` as a background task. It fails
    closed: before the first snapshot of denials, and past `max_staleness` without a voucher for it, nothing is
    allowed that the issuer does not allow online.
    """

    def __init__(  # noqa: PLR0913  (each is one independent decision of the resource)
        self,
        *,
        issuer: str,
        audience: str,
        feed: Feed,
        keys: KeySource,
        online: Online | None = None,
        max_staleness: float = 30.0,
        on_stale: Literal["ask", "refuse"] = "ask",
        leeway: int = 5,
        wait: float = 0.25,
        remember: int = 20_000,
        dangerously_accept_stale: bool = False,
        now: Callable[[], float] = time.time,
        boot: Callable[[], float] = since_boot,
    ) -> None:
        """Say who issues, and who is asked.

        `issuer`: exactly as in the tokens' `iss`. `audience`: this resource's identifier, as in their `aud`.
        `online`: whom to ask about tokens that the view of denials cannot judge; None: they are refused.
        `max_staleness`: seconds after which the view is too old. `on_stale`: past that, ask online or refuse.
        `leeway`: seconds by which clocks may differ. `wait`: seconds that `validate` waits for a position.
        `remember`: how many verified tokens are kept, at about half a kilobyte each.
        `dangerously_accept_stale`: past `max_staleness`, accept what may have been revoked meanwhile.
        """
        if on_stale not in ("ask", "refuse"):
            raise ValueError('on_stale is "ask" or "refuse"; it is never "accept"')
        self.issuer = issuer
        self.audience = audience
        self.view = DenialView(max_staleness)
        self._feed = feed
        self._keys = keys
        self._online = online
        self._ask_when_stale = on_stale == "ask"
        self._leeway = leeway
        self._wait = wait
        self._remember = remember
        self._accept_stale = dangerously_accept_stale
        self._now = now
        self._boot = boot
        self._verified: dict[bytes, AccessToken] = {}
        self._pinging: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Keep the view and the keys current until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed.run(self.view))
            group.create_task(self._refresh_keys())
            group.create_task(self._prune())

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.run(), name="stagedoor guard")
        self._running.add_done_callback(_complain)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    @property
    def begun(self) -> bool:
        """Whether the keys and a first snapshot of denials have come."""
        return self._keys.loaded and self.view.loaded

    def ready(self) -> bool:
        """Whether tokens can be judged from here now, without asking."""
        return self.begun and self.view.fresh(self._boot())

    def check(
        self, token: str, *, audience: str | None = None, scopes: Collection[str] = (), min_position: int = 0
    ) -> Verdict:
        """Judge a token from what this process knows.

        `audience`: another identifier than the guard's own. `scopes`: all of them are needed. `min_position`: take
        into account at least everything up to this log position.
        """
        verified = self._verify(token)
        if isinstance(verified, Denied):
            return verified
        return self._judge(verified, audience or self.audience, scopes, min_position)

    async def validate(
        self, token: str, *, audience: str | None = None, scopes: Collection[str] = (), min_position: int = 0
    ) -> Verdict:
        """Judge a token; where what this process knows is not enough, wait a moment for it, or ask online."""
        verified = self._verify(token)
        if isinstance(verified, Denied):
            if verified.reason not in (Reason.UNKNOWN_KEY, Reason.TOO_STALE):
                return verified
            await self._keys.refresh()
            verified = self._verify(token)
            if isinstance(verified, Denied):
                return verified
        wanted = audience or self.audience
        verdict = self._judge(verified, wanted, scopes, min_position)
        if isinstance(verdict, Denied) and verdict.reason is Reason.AHEAD_OF_VIEW:
            await self._catch_up(max(verified.pos, min_position))
            verdict = self._judge(verified, wanted, scopes, min_position)
        if isinstance(verdict, Denied) and verdict.reason in TEMPORARY:
            return await self._ask(token, verified, verdict, wanted, scopes, min_position)
        return verdict

    def _verify(self, token: str) -> AccessToken | Denied:
        """What never changes about a token, from memory where it was verified before."""
        if len(token) > tokens.MAXIMUM_BYTES:
            return denied(Reason.MALFORMED)
        try:
            key = sha256(token.encode("ascii")).digest()
        except UnicodeEncodeError:
            return denied(Reason.MALFORMED)
        known = self._verified.get(key)
        if known is not None:
            # A key that was taken back, or replaced under its id, takes what it signed with it.
            if self._keys.find(known.key.kid) is known.key:
                return known
            del self._verified[key]
        verified = tokens.read(token, self._keys, self.issuer)
        if isinstance(verified, AccessToken):
            if len(self._verified) >= self._remember:
                self._verified.pop(next(iter(self._verified)), None)
            self._verified[key] = verified
        return verified

    def _judge(self, token: AccessToken, audience: str, scopes: Collection[str], min_position: int) -> Verdict:
        """What changes with time, with what is asked for, and with what has been denied."""
        refused = self._unfit(token, audience)
        if refused is not None:
            return denied(refused)
        view = self.view
        refused = view.denied(token)
        if not (view.fresh(self._boot()) and view.loaded):
            if refused is None and not (self._accept_stale and view.loaded):
                refused = Reason.TOO_STALE
        elif (token.epoch > view.epoch or view.position < token.pos or view.position < min_position) and (
            refused is None or refused in _MAY_BE_LIFTED
        ):
            refused = Reason.AHEAD_OF_VIEW
        if refused is None and view.lost(token):
            refused = Reason.LOST_BRANCH
        if refused is not None:
            return denied(refused)
        return _with_scopes(token, scopes, view.position)

    def _unfit(self, token: AccessToken, audience: str) -> Reason | None:
        """Why the token is wrong by itself, whatever has been denied."""
        now = self._now()
        if now >= token.exp + self._leeway:
            return Reason.EXPIRED
        if now < token.nbf - self._leeway:
            return Reason.NOT_YET_VALID
        if audience not in token.audiences:
            return Reason.WRONG_AUDIENCE
        if token.bound:
            return Reason.PROOF_REQUIRED
        return None

    async def _catch_up(self, position: int) -> None:
        """Bring the view up to a position, within `wait` seconds. Callers at once share one ping.

        A ping that was on its way before the token was issued may not reach it, so there may be a second one.
        """
        deadline = self._boot() + self._wait
        for _ in range(2):
            if self._pinging is None or self._pinging.done():
                self._pinging = asyncio.create_task(self._feed.ping(), name="stagedoor ping")
            pinging = self._pinging
            reached = asyncio.create_task(self.view.reach(position, deadline - self._boot()))
            await asyncio.wait((pinging, reached), timeout=deadline - self._boot(), return_when="FIRST_COMPLETED")
            if self.view.position >= position or self._boot() >= deadline:
                reached.cancel()
                return
            reached.cancel()
        await self.view.reach(position, deadline - self._boot())

    async def _ask(  # noqa: PLR0913, PLR0917  (the course of one question)
        self,
        token: str,
        verified: AccessToken,
        verdict: Denied,
        audience: str,
        scopes: Collection[str],
        min_position: int,
    ) -> Verdict:
        """Ask online. What it answers is never remembered."""
        if self._online is None or (verdict.reason is Reason.TOO_STALE and not self._ask_when_stale):
            return verdict
        try:
            answer = await self._online.validate(token, audience=audience, scopes=scopes, min_position=min_position)
        except OnlineError as failure:
            _log.warning("a token cannot be judged: the view is %s, and %s", verdict.reason, failure)
            return verdict
        if not answer.allowed:
            return denied(_reason(answer.reason))
        return _with_scopes(verified, scopes, answer.position)

    async def _refresh_keys(self) -> None:
        while True:
            await self._keys.refresh()
            await asyncio.sleep(min(_KEYS_EVERY, self._keys.lifetime) if self._keys.loaded else _KEYS_RETRY)

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(_PRUNE_EVERY)
            self.view.prune(self._now(), skew=2.0 * self._leeway)


def _reason(code: str) -> Reason:
    """The reason of this code; one that only a newer version knows is a refusal all the same."""
    try:
        return Reason(code)
    except ValueError:
        return Reason.DENIED_TOKEN


def _with_scopes(token: AccessToken, scopes: Collection[str], position: int) -> Verdict:
    """Last of all, whether it has the scopes: a token that is not accepted at all needs no better scope."""
    for scope in scopes:
        if scope not in token.scopes:
            wrong = denied(Reason.INSUFFICIENT_SCOPE)
            return Denied(reason=wrong.reason, description=wrong.description, scopes=tuple(scopes))
    return Allowed(
        sub=token.sub,
        client_id=token.client_id,
        scopes=token.scopes,
        jti=token.jti,
        sid=token.sid,
        gid=token.gid,
        roles=token.roles,
        position=position,
        claims=token.claims,
    )


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        _log.error("the guard has stopped, and will refuse: %s", failure, exc_info=failure)
