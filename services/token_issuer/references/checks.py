"""May this reference token do this? Answered like the SDK's guard answers for a JWT, over the same view of denials.

The text is held against its own check, then looked up by its digest: one indexed read for one that was not seen
before. What is found never changes, so it is remembered; what may change is time and what has been denied.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from services.token_issuer.references.tables import KnownReference, ReferenceQuestions
from services.token_issuer.references.texts import kind_of
from services.token_issuer.references.uses import Uses
from shared.clock import Clock
from shared.ids import digest
from stagedoor import Guard
from stagedoor.clock import since_boot
from stagedoor.denials import DenialKind, DenialView
from stagedoor.feed import Feed
from stagedoor.keys import Algorithm, PublicKey
from stagedoor.token import AccessToken
from stagedoor.verdict import TEMPORARY, Reason

UNKNOWN = "unknown_token"
"""Nobody made a token with this text."""

_WAIT_SECONDS = 0.25
"""How long a token that is newer than the view of denials is waited for."""
_REMEMBERED = 20_000

_NO_KEY = PublicKey("", Algorithm.ES256, ec.generate_private_key(ec.SECP256R1()).public_key())
"""Stands where a view asks for the key that signed: nothing signed this."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said of a reference token."""

    reason: str
    """As in `stagedoor.verdict.Reason`, or `unknown_token`; empty: it is allowed."""
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def allowed(self) -> bool:
        """Whether it is accepted."""
        return not self.reason

    @property
    def temporary(self) -> bool:
        """It could not be decided now."""
        return self.reason in TEMPORARY


class ReferenceChecks:
    """Judges reference tokens. `guard` has to be running over `feed`; its view of denials is what counts."""

    def __init__(self, questions: ReferenceQuestions, guard: Guard, feed: Feed, uses: Uses, clock: Clock) -> None:
        self._questions = questions
        self._guard = guard
        self._feed = feed
        self._uses = uses
        self._clock = clock
        self._seen: dict[str, tuple[int, AccessToken | None]] = {}
        """By digest: the epoch of the log that it was looked up in, and what was found."""

    async def find(self, token: str) -> AccessToken | None:
        """What the token says; None if it is malformed, or nobody made it. Raises `LogUnavailable`."""
        if kind_of(token) is None:
            return None
        name, epoch = digest(token), self._guard.view.epoch
        seen = self._seen.get(name)
        # What was found on a branch of the log that a failover has lost is looked up again. One that is unknown stays
        # so: nobody has a token's text before its event is in the log.
        if seen is not None and seen[0] == epoch:
            return seen[1]
        known = await self._questions.by_digest(name)
        found = None if known is None else _as_token(known, self._guard.issuer)
        if len(self._seen) >= _REMEMBERED:
            self._seen.pop(next(iter(self._seen)), None)
        self._seen[name] = (epoch, found)
        return found

    async def judge(
        self, token: str, *, audience: str | None, scopes: Collection[str] = (), min_position: int = 0
    ) -> Judgement:
        """Whether it is accepted. `audience` None: whichever it is for. Raises `LogUnavailable`."""
        found = await self.find(token)
        if found is None:
            return Judgement(UNKNOWN if kind_of(token) is not None else Reason.MALFORMED)
        refused = self._unfit(found, audience) or await self._denied(found, max(found.pos, min_position))
        if refused is None and not found.scopes.issuperset(scopes):
            refused = Reason.INSUFFICIENT_SCOPE
        if refused is not None:
            return Judgement(refused)
        self._uses.note(found.jti)
        return Judgement("", found.claims)

    def _unfit(self, token: AccessToken, audience: str | None) -> Reason | None:
        """Why it is wrong by itself, whatever has been denied."""
        if self._clock().timestamp() >= token.exp:
            return Reason.EXPIRED
        if audience is not None and audience not in token.audiences:
            return Reason.WRONG_AUDIENCE
        return None

    async def _denied(self, token: AccessToken, position: int) -> Reason | None:
        """What of it is denied, as of a position at least; or why that cannot be told."""
        view = self._guard.view
        if view.position < position:
            await self._feed.ping()
            await view.reach(position, _WAIT_SECONDS)
        refused = _matches(view, token)
        if refused is not None:
            return refused
        if not (view.loaded and view.fresh(since_boot())):
            return Reason.TOO_STALE
        return Reason.AHEAD_OF_VIEW if view.position < position else None


def _as_token(known: KnownReference, issuer: str) -> AccessToken:
    """What a JWT with the same claims would be read as."""
    issued, expires = int(known.issued_at.timestamp()), int(known.expires_at.timestamp())
    claims = {
        "iss": issuer,
        "sub": known.sub,
        "aud": list(known.audiences),
        "client_id": known.client_id,
        "scope": " ".join(known.scopes),
        "iat": issued,
        "exp": expires,
        "jti": known.jti,
        "pos": known.position,
        "epoch": known.epoch,
        "reference": known.kind.value,
    }
    return AccessToken(
        key=_NO_KEY,
        sub=known.sub,
        client_id=known.client_id,
        clients=(known.client_id,),
        jti=known.jti,
        gid=None,
        sid=None,
        audiences=frozenset(known.audiences),
        scopes=frozenset(known.scopes),
        roles=frozenset(),
        exp=expires,
        nbf=issued,
        pos=known.position,
        epoch=known.epoch,
        bound=False,
        claims=claims,
    )


def _matches(view: DenialView, token: AccessToken) -> Reason | None:
    """What of it is denied: all that stands against any token, and what stands against reference tokens alone."""
    refused = view.denied(token)
    if refused is not None:
        return refused
    mark = view._tables.marks[DenialKind.CLIENT_REFERENCES].get(token.client_id)  # noqa: SLF001  (it has no other way)
    return Reason.DENIED_CLIENT if mark is not None and mark.denies(token.pos) else None
