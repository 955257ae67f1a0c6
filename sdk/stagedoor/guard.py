"""The check itself.

    guard.check      at once, from what this process knows; what it does not know it does not guess
    guard.validate   the same, and where that is not enough it waits briefly, or asks the issuer

A warm check is a hash, a look-up, two comparisons of time and a handful of look-ups among the denials.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from hashlib import sha256
from types import TracebackType
from typing import Any, Literal, Self

from stagedoor import dpop, reference
from stagedoor import token as tokens
from stagedoor.certificate import Certificate
from stagedoor.clock import since_boot
from stagedoor.denials import DenialView
from stagedoor.dpop import NOT_PRESENTED, Proof, Proofs
from stagedoor.feed import Feed, Online, OnlineError
from stagedoor.keys import KeySource
from stagedoor.memory import Memory, Refused
from stagedoor.presented import Possession
from stagedoor.token import AccessToken
from stagedoor.verdict import Allowed, Denied, Reason, Verdict, denied

_log = logging.getLogger("stagedoor.guard")

_KEYS_EVERY = 300.0
"""Seconds between two looks at the issuer's keys, so that one that is gone is forgotten."""
_KEYS_RETRY = 1.0
"""Seconds until the next attempt while no keys are known."""
_KEYS_TOLD = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt to have the keys that the feed told of: the issuer's replicas hear of them at the same
moment. As much again by chance, since all guards are told at once."""
_PRUNE_EVERY = 60.0
_MAY_BE_LIFTED = frozenset({Reason.DENIED_CLIENT, Reason.DENIED_SUBJECT})
"""What a view says that has not come far enough: since then the application or the user may have been enabled."""
_MOST_LOOKUPS = 1000
"""Reference tokens that are looked up at a time; more have to wait, so that a flood of made-up ones stays small."""
_NONE: frozenset[str] = frozenset()
_MALFORMED = denied(Reason.MALFORMED)


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
        proof_window: float = dpop.WINDOW,
        wait: float = 0.25,
        remember: int = 20_000,
        most_denials: int = 100_000,
        dangerously_accept_stale: bool = False,
        now: Callable[[], float] = time.time,
        boot: Callable[[], float] = since_boot,
    ) -> None:
        """Say who issues, and who is asked.

        `issuer`: exactly as in the tokens' `iss`. `audience`: this resource's identifier, as in their `aud`.
        `online`: whom to ask about tokens that the view of denials cannot judge; None: they are refused.
        `max_staleness`: seconds after which the view is too old. `on_stale`: past that, ask online or refuse.
        `leeway`: seconds by which clocks may differ; `proof_window`: by which the time in a DPoP proof may differ from
        now. `wait`: seconds that `validate` waits for a position.
        `remember`: how many verified tokens are kept until they expire, at about two kilobytes each.
        `most_denials`: how many of one kind are kept one by one; see `stagedoor.marks`.
        `dangerously_accept_stale`: past `max_staleness`, accept what may have been revoked meanwhile.
        """
        if on_stale not in ("ask", "refuse"):
            raise ValueError('on_stale is "ask" or "refuse"; it is never "accept"')
        self.issuer = issuer
        self.audience = audience
        self.view = DenialView(max_staleness, most=most_denials)
        self.accepted = 0
        """Verdicts of `validate` so far, for whoever measures (`stagedoor.metrics`)."""
        self.refused: Counter[Reason] = Counter()
        self._feed = feed
        self._keys = keys
        self._online = online
        self._ask_when_stale = on_stale == "ask"
        self._leeway = leeway
        self._wait = wait
        self._memory = Memory(remember)
        self._proofs = Proofs(proof_window, boot)
        self._refused = Refused(boot)
        self._looking_up: dict[tuple[bytes, str], asyncio.Task[Denied | None]] = {}
        self._accept_stale = dangerously_accept_stale
        self._now = now
        self._boot = boot
        self._pinging: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Keep the view and the keys current until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed.run(self.view))
            group.create_task(self._refresh_keys())
            group.create_task(self._fetch_told_keys())
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
        self,
        token: str,
        *,
        audience: str | None = None,
        scopes: Collection[str] = (),
        min_position: int = 0,
        proof: Possession | None = None,
    ) -> Verdict:
        """Judge a token from what this process knows.

        `audience`: another identifier than the guard's own. `scopes`: all of them are needed. `min_position`: take
        into account at least everything up to this log position. `proof`: how it was presented, if by `DPoP`
        (RFC 9449 section 7.1), or over a connection with a client certificate (RFC 8705 section 3); None: as `Bearer`
        and no more, which a bound token must not be.
        """
        if len(token) > tokens.MAXIMUM_BYTES:
            return _MALFORMED
        try:
            text = token.encode("ascii")
        except UnicodeEncodeError:
            return _MALFORMED
        digest = sha256(text).digest()
        known, view = self._memory.find(digest), self.view
        # The short way: nothing that decided has changed since, and what time and the caller change is looked at
        # anew. Whatever does not hold goes the long way, which finds the reason.
        if (
            known is not None
            and proof is None
            and known.stamp == view.stamp
            and (said := known.said).nbf - self._leeway <= self._now() < said.exp + self._leeway
            and self._boot() - view.vouched_at <= view.max_staleness
            and ((key := known.key) is None or self._keys.find(key.kid) is key)
            and (audience or self.audience) in said.aud
            and (not scopes or known.scopes.issuperset(scopes))
            and min_position <= (allowed := known.allowed).position  # type: ignore[union-attr]  # there with a stamp
        ):
            return allowed  # type: ignore[return-value]  # as above
        if known is None and not text.startswith(reference.PREFIX):
            # As `_know` does it. A token that was never seen goes the straightest way: each step more finds the
            # processor's caches cold.
            found = tokens.read_bytes(text, self._keys, self.issuer)
            if type(found) is Denied:
                return found
            self._memory.add(digest, found)  # type: ignore[arg-type]  # what is not denied
        else:
            found = self._know(text, digest, known)
            if isinstance(found, Denied):
                return found
        wanted = audience or self.audience
        return (
            self._judge(found, wanted, scopes, min_position)  # type: ignore[arg-type]  # as above
            if proof is None
            else self._judge_proved(found, wanted, scopes, min_position, proof, digest)  # type: ignore[arg-type]
        )

    async def validate(
        self,
        token: str,
        *,
        audience: str | None = None,
        scopes: Collection[str] = (),
        min_position: int = 0,
        proof: Possession | None = None,
    ) -> Verdict:
        """Judge a token; where what this process knows is not enough, wait a moment for it, or ask online."""
        verdict = self.check(token, audience=audience, scopes=scopes, min_position=min_position, proof=proof)
        if isinstance(verdict, Denied):
            if verdict.temporary or verdict.reason is Reason.UNKNOWN_KEY:
                verdict = await self._find_out(token, audience or self.audience, scopes, min_position, proof)
            if isinstance(verdict, Denied):
                self.refused[verdict.reason] += 1
                return verdict
        self.accepted += 1
        return verdict

    async def _find_out(
        self, token: str, audience: str, scopes: Collection[str], min_position: int, proof: Possession | None
    ) -> Verdict:
        """What a check could not tell."""
        text = token.encode("ascii")
        digest = sha256(text).digest()
        known = self._know(text, digest, self._memory.find(digest))
        if isinstance(known, Denied):
            if known.reason is Reason.NOT_LOOKED_UP:
                refused = await self._look_up(token, digest, audience)
                if refused is not None:
                    return refused
            else:
                await self._keys.refresh()
            known = self._know(text, digest, self._memory.find(digest))
            if isinstance(known, Denied):
                return known
        verdict = self._judge_proved(known, audience, scopes, min_position, proof, digest)
        if isinstance(verdict, Denied) and verdict.reason is Reason.AHEAD_OF_VIEW:
            await self._catch_up(max(known.said.pos, min_position))
            verdict = self._judge_proved(known, audience, scopes, min_position, proof, digest)
        if isinstance(verdict, Denied) and verdict.temporary and verdict.reason is not Reason.TOO_MANY_PROOFS:
            return await self._ask(token, known, verdict, audience, scopes, min_position, proof)
        return verdict

    async def _look_up(self, token: str, digest: bytes, audience: str) -> Denied | None:
        """Ask what a reference token stands for; None where that is known now. Callers at once share a question."""
        if self._online is None:
            return denied(Reason.UNKNOWN_TOKEN)
        refused = self._refused.find(digest, audience)
        if refused is not None:
            return refused
        asking = self._looking_up.get((digest, audience))
        if asking is None:
            if len(self._looking_up) >= _MOST_LOOKUPS:
                return denied(Reason.NOT_LOOKED_UP)
            asking = asyncio.create_task(self._ask_what_it_is(self._online, token, digest, audience))
            self._looking_up[digest, audience] = asking
            asking.add_done_callback(lambda _: self._looking_up.pop((digest, audience), None))
        return await asyncio.shield(asking)

    async def _ask_what_it_is(self, online: Online, token: str, digest: bytes, audience: str) -> Denied | None:
        # Taken before the question: what is forgotten while the answer is on its way makes it an old one.
        forgotten = self.view.forgotten
        try:
            answer = await online.validate(token, audience=audience, scopes=(), min_position=0, with_claims=True)
        except OnlineError as failure:
            _log.warning("a reference token cannot be looked up: %s", failure)
            return denied(Reason.NOT_LOOKED_UP)
        if not answer.allowed:
            refused = denied(_reason(answer.reason))
            if not refused.temporary:
                self._refused.add(digest, audience, refused)
            return refused
        kind = reference.kind_of(token.encode("ascii"))
        found = reference.read(answer.claims, kind, self.issuer) if kind is not None else None
        if found is None:
            _log.error("what the issuer says of a reference token is not understood")
            return denied(Reason.NOT_LOOKED_UP)
        found.looked_up = forgotten
        self._memory.add(digest, found)
        return None

    def _know(self, text: bytes, digest: bytes, known: AccessToken | None) -> AccessToken | Denied:
        """What never changes about a token, from memory where it was verified before."""
        if known is not None:
            # A key that was taken back, or replaced under its id, takes what it signed with it. A reference token is
            # looked up again where a denial of it may have been forgotten.
            if (
                known.looked_up == self.view.forgotten
                if known.key is None
                else self._keys.find(known.key.kid) is known.key
            ):
                self._memory.keep(digest)
                return known
            self._memory.forget(digest)
        if text.startswith(reference.PREFIX):
            return denied(Reason.NOT_LOOKED_UP) if reference.kind_of(text) is not None else _MALFORMED
        verified = tokens.read_bytes(text, self._keys, self.issuer)
        if isinstance(verified, AccessToken):
            self._memory.add(digest, verified)
        return verified

    def _judge_proved(  # noqa: PLR0913, PLR0917  (what a verdict depends on)
        self,
        token: AccessToken,
        audience: str,
        scopes: Collection[str],
        min_position: int,
        proof: Possession | None,
        digest: bytes,
    ) -> Verdict:
        """The same where there may be a proof. That is used up last of all, by what is allowed alone."""
        if proof is None:
            return self._judge(token, audience, scopes, min_position)
        if proof is NOT_PRESENTED:
            return self._judge(token, audience, scopes, min_position, proved=True)
        if isinstance(proof, Certificate):
            wrong = proof.mismatch(token.said.cnf)
            return wrong or self._judge(token, audience, scopes, min_position, proved=True)
        shown = self._proofs.check(token.said, proof, digest, self._now())
        if isinstance(shown, Denied):
            return shown
        verdict = self._judge(token, audience, scopes, min_position, proved=True)
        return verdict if isinstance(verdict, Denied) else self._proofs.use(shown) or verdict

    def _judge(  # noqa: C901, PLR0911  (one return for each reason)
        self, token: AccessToken, audience: str, scopes: Collection[str], min_position: int, *, proved: bool = False
    ) -> Verdict:
        """What changes with time, with what is asked for, and with what has been denied."""
        said, view, now = token.said, self.view, self._now()
        # Taken before anything of the view is looked at: what changes meanwhile makes the verdict an old one.
        stamp, position, pruned_to = view.stamp, view.position, view.pruned_to
        if now >= said.exp + self._leeway:
            return denied(Reason.EXPIRED)
        if now < said.nbf - self._leeway:
            return denied(Reason.NOT_YET_VALID)
        if audience not in said.aud:
            return denied(Reason.WRONG_AUDIENCE)
        if said.cnf is not None and not proved:
            return denied(Reason.PROOF_REQUIRED)
        # Before what the view may not have come to yet: it never comes to what is on a branch that has been left.
        if said.epoch < view.epoch and view.lost(said.epoch, said.pos):
            return denied(Reason.LOST_BRANCH)
        reason = view.denied(token)
        fresh = view.epoch > 0 and self._boot() - view.vouched_at <= view.max_staleness and said.exp > pruned_to
        behind = said.epoch > view.epoch or position < said.pos or position < min_position
        if reason is not None:
            return denied(Reason.AHEAD_OF_VIEW if fresh and behind and reason in _MAY_BE_LIFTED else reason)
        if not fresh:
            if not (self._accept_stale and view.loaded):
                return denied(Reason.TOO_STALE)
        elif behind:
            return denied(Reason.AHEAD_OF_VIEW)
        if scopes and not token.scopes.issuperset(scopes):
            return _lacks(scopes)
        verdict = _allowed(token, position)
        if fresh and said.cnf is None:  # a bound token needs a proof each time, and the short way looks at none
            token.allowed = verdict
            token.stamp = stamp
        return verdict

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
        proof: Possession | None,
    ) -> Verdict:
        """Ask online. What it answers is never remembered."""
        if self._online is None or (verdict.reason is Reason.TOO_STALE and not self._ask_when_stale):
            return verdict
        if isinstance(proof, Proof):
            # Used up here as well: the issuer may answer for this process, and remember nothing for the next one.
            shown = self._proofs.check(verified.said, proof, sha256(token.encode("ascii")).digest(), self._now())
            used = shown if isinstance(shown, Denied) else self._proofs.use(shown)
            if used is not None:
                return used
        # Whoever answers need not know of proofs, as long as none is shown.
        proved: dict[str, Any] = {} if proof is None else {"proof": proof}
        try:
            answer = await self._online.validate(
                token, audience=audience, scopes=scopes, min_position=min_position, **proved
            )
        except OnlineError as failure:
            _log.warning("a token cannot be judged: the view is %s, and %s", verdict.reason, failure)
            return verdict
        if not answer.allowed:
            return denied(_reason(answer.reason))
        return _allowed(verified, answer.position) if verified.scopes.issuperset(scopes) else _lacks(scopes)

    async def _refresh_keys(self) -> None:
        while True:
            await self._keys.refresh()
            await asyncio.sleep(min(_KEYS_EVERY, self._keys.lifetime) if self._keys.loaded else _KEYS_RETRY)

    async def _fetch_told_keys(self) -> None:
        """Fetch the keys when the feed says that there is a new one, or that one is trusted no more.

        The feed's word is a reason to ask the issuer and nothing else: a key is what the issuer publishes, and how
        often it is asked does not depend on how much the feed says.
        """
        view, keys = self.view, self._keys
        while True:
            await view.keys_changed.wait()
            view.keys_changed.clear()
            told, view.keys_told = view.keys_told, {}
            for seconds in _KEYS_TOLD:
                await asyncio.sleep(seconds * random.uniform(1.0, 2.0))  # noqa: S311  (spreads guards, no secret)
                await keys.refresh(told=True)
                if all((keys.find(kid) is not None) is there for kid, there in told.items()):
                    break

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(_PRUNE_EVERY)
            now, skew = self._now(), 2.0 * self._leeway
            if now - skew < self.view.pruned_to:
                _log.warning("the clock was set back: what was denied is asked for anew")
                self.view.begin_again()
            else:
                self.view.prune(now, skew=skew)
            self._memory.prune(now - self._leeway)


def _reason(code: str) -> Reason:
    """The reason of this code; one that only a newer version knows is a refusal all the same."""
    try:
        return Reason(code)
    except ValueError:
        return Reason.DENIED_TOKEN


def _allowed(token: AccessToken, position: int) -> Allowed:
    """It is accepted, as of a log position."""
    said = token.said
    return Allowed(
        sub=said.sub,
        client_id=said.client_id,
        scopes=token.scopes,
        jti=said.jti,
        sid=said.sid,
        gid=said.gid,
        roles=frozenset(said.roles) if said.roles else _NONE,
        position=position,
        payload=token.payload,
        actors=token.clients[1:],
    )


def _lacks(scopes: Collection[str]) -> Denied:
    """Last of all, it does not have the scopes: a token that is not accepted at all needs no better scope."""
    wrong = denied(Reason.INSUFFICIENT_SCOPE)
    return Denied(reason=wrong.reason, description=wrong.description, scopes=tuple(scopes))


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        _log.error("the guard has stopped, and will refuse: %s", failure, exc_info=failure)
