"""May this reference token do this? Answered like the SDK's guard answers for a JWT, over the same view of denials.

The text is held against its own check, then looked up by its digest: one indexed read for one that was not seen
before. What is found is remembered for as long as the view is sure to have every denial since; what changes after
that is time, and what the view says.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.token_issuer.references import matching
from services.token_issuer.references.tables import FoundReference, KnownReference, ReferenceQuestions
from services.token_issuer.references.texts import kind_of
from services.token_issuer.references.uses import Uses
from shared.clock import Clock
from shared.ids import digest
from stagedoor import Guard
from stagedoor.clock import since_boot
from stagedoor.feed import Feed
from stagedoor.token import AccessToken
from stagedoor.verdict import TEMPORARY, Reason, Verdict

_WAIT_SECONDS = 0.25
"""How long a token that is newer than the view of denials is waited for."""
_REMEMBERED = 20_000
_DENIALS = 10_000
"""After so many denials a token is looked up again. A view holds more than these one by one, so none is missed between
what the tables knew when it was looked up and what the view knows."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference token that somebody made: what it says, and what ended it for good."""

    jti: str
    client_id: str
    audiences: frozenset[str]
    scopes: frozenset[str]
    exp: int
    """Seconds since 1970."""
    pos: int
    """Log position of the event that issued it."""
    claims: Mapping[str, Any]
    ended: Reason | None
    token: AccessToken
    """As a view of denials looks at it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said of a reference token."""

    reason: str
    """As in `stagedoor.verdict.Reason`; empty: it is allowed."""
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def allowed(self) -> bool:
        """Whether it is accepted."""
        return not self.reason

    @property
    def temporary(self) -> bool:
        """It could not be decided now."""
        return self.reason in TEMPORARY


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was found for a text, and where the view stood then."""

    reference: Reference | None
    epoch: int
    number: int


class ReferenceChecks:
    """Judges reference tokens. `guard` has to be running over `feed`; its view of denials is what counts."""

    def __init__(self, questions: ReferenceQuestions, guard: Guard, feed: Feed, uses: Uses, clock: Clock) -> None:
        self._questions = questions
        self._guard = guard
        self._feed = feed
        self._uses = uses
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    async def find(self, token: str) -> Reference | None:
        """The token with this text; None if it is malformed, or nobody made it. Raises `LogUnavailable`."""
        if kind_of(token) is None:
            return None
        name, view = digest(token), self._guard.view
        seen = self._seen.get(name)
        # What was found on a branch of the log that a failover has lost is looked up again. One that is unknown stays
        # so: nobody has a token's text before its event is in the log.
        if seen is not None and seen.epoch == view.epoch and 0 <= view.number - seen.number <= _DENIALS:
            return seen.reference
        epoch, number = view.epoch, view.number
        found = await self._questions.by_digest(name)
        reference = None if found is None else _reference(found, self._guard.issuer)
        if len(self._seen) >= _REMEMBERED:
            self._seen.pop(next(iter(self._seen)), None)
        self._seen[name] = _Seen(reference, epoch, number)
        return reference

    async def judge(
        self, token: str, *, audience: str | None, scopes: Collection[str] = (), min_position: int = 0
    ) -> Judgement:
        """Whether it is accepted. `audience` None: whichever it is for. Raises `LogUnavailable`."""
        found = await self.find(token)
        if found is None:
            return Judgement(Reason.UNKNOWN_TOKEN if kind_of(token) is not None else Reason.MALFORMED)
        refused = self._unfit(found, audience) or await self._denied(found, max(found.pos, min_position))
        if refused is None and not found.scopes.issuperset(scopes):
            refused = Reason.INSUFFICIENT_SCOPE
        if refused is not None:
            return Judgement(refused)
        self._uses.note(found.jti)
        return Judgement("", found.claims)

    async def verdict(self, token: str, *, audience: str, scopes: Collection[str] = ()) -> Verdict:
        """The same as the SDK says it."""
        judgement = await self.judge(token, audience=audience, scopes=scopes)
        found = await self.find(token) if judgement.allowed else None
        if found is None:
            return matching.refused(judgement.reason, scopes)
        return matching.allowed(found.token, self._guard.view.position)

    def _unfit(self, reference: Reference, audience: str | None) -> Reason | None:
        """Why it is wrong by itself, whatever has been denied since it was looked up."""
        if self._clock().timestamp() >= reference.exp:
            return Reason.EXPIRED
        if audience is not None and audience not in reference.audiences:
            return Reason.WRONG_AUDIENCE
        return reference.ended

    async def _denied(self, reference: Reference, position: int) -> Reason | None:
        """What of it is denied, as of a position at least; or why that cannot be told."""
        view = self._guard.view
        if view.position < position:
            await self._feed.ping()
            await view.reach(position, _WAIT_SECONDS)
        refused = matching.denied(view, reference.token)
        if refused is not None:
            return refused
        if not (view.loaded and view.fresh(since_boot())) or reference.exp <= view.pruned_to:
            return Reason.TOO_STALE
        return Reason.AHEAD_OF_VIEW if view.position < position else None


def _reference(found: FoundReference, issuer: str) -> Reference:
    known = found.reference
    claims = _claims(known, issuer)
    ended = Reason.DENIED_TOKEN if found.revoked else None
    if found.cut_off is not None:
        ended = matching.REASONS[found.cut_off]
    return Reference(
        jti=known.jti,
        client_id=known.client_id,
        audiences=frozenset(known.audiences),
        scopes=frozenset(known.scopes),
        exp=claims["exp"],
        pos=known.position,
        claims=claims,
        ended=ended,
        token=matching.as_token(claims, known.kind.value, issuer),
    )


def _claims(known: KnownReference, issuer: str) -> dict[str, Any]:
    """What a JWT that says the same would say."""
    return {
        "iss": issuer,
        "sub": known.sub,
        "aud": list(known.audiences),
        "client_id": known.client_id,
        "scope": " ".join(known.scopes),
        "iat": int(known.issued_at.timestamp()),
        "exp": int(known.expires_at.timestamp()),
        "jti": known.jti,
        "pos": known.position,
        "epoch": known.epoch,
        "reference": known.kind.value,
    }
