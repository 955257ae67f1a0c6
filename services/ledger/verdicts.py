"""Whether a token was accepted at a moment, by the rules that every guard goes by, and which facts made it so.

The denials are those that the facts themselves state, not those which the log still keeps to tell guards: denials are
pruned when no live token can meet them, and this is asked of tokens that are long gone. What they come to is decided by
the SDK's own view of denials, so a guard that had heard of everything up to then said the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.ledger.past import position_of
from shared.denials import Denial, DenialKind, DenialRule, subject_client_id
from shared.history import IssuedToken
from shared.log.event import Recorded
from stagedoor import denial as sdk
from stagedoor.denials import DenialView, Snapshot
from stagedoor.token import AccessToken, Said
from stagedoor.verdict import DESCRIPTIONS, Reason

LEEWAY: Final = timedelta(seconds=5)
"""By which guards let clocks differ, unless they are told else: they take a token for so much longer than it says."""
NOT_ISSUED: Final = "not_issued"
"""The reason where a token came only later."""
_DESCRIPTIONS: Final = {NOT_ISSUED: "the token was issued later"}
_STANDS: Final = {
    DenialRule.STANDING: "denies the {kind} while it stands",
    DenialRule.CUT_OFF: "denies what the {kind} was given until then",
    DenialRule.LIFTED: "lifts what stood against the {kind}",
}
_CALLED: Final = {
    DenialKind.TOKEN: "token",
    DenialKind.GRANT: "grant",
    DenialKind.SESSION: "session",
    DenialKind.SUBJECT: "user",
    DenialKind.SUBJECT_SESSIONS: "user's other sessions",
    DenialKind.SUBJECT_CLIENT: "user at this application",
    DenialKind.CLIENT: "application",
    DenialKind.CLIENT_REFERENCES: "application's reference tokens",
    DenialKind.KEY: "key",
}
_ONLY_FOR_SESSIONS: Final = frozenset({DenialKind.SESSION, DenialKind.SUBJECT_SESSIONS})


@dataclass(frozen=True, slots=True)
class Cause:
    """A fact that has to do with a verdict."""

    recorded: Recorded
    what: str
    decides: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of a token."""

    accepted: bool
    reason: str
    """Empty if it was accepted."""
    causes: tuple[Cause, ...]
    """In order; without the one that issued it."""

    @property
    def description(self) -> str:
        """The same for people."""
        if self.accepted:
            return "nothing stood against the token"
        return _DESCRIPTIONS.get(self.reason) or DESCRIPTIONS[Reason(self.reason)]


def met_by(token: IssuedToken) -> list[tuple[DenialKind, str]]:
    """The kinds and ids of denials that can stand against a token."""
    met = [(DenialKind.TOKEN, jti) for jti in (token.jti, *token.derived_from)]
    met.append((DenialKind.SUBJECT, token.sub))
    for client_id in token.actors or (token.client_id,):
        met += [
            (DenialKind.CLIENT, client_id),
            (DenialKind.SUBJECT_CLIENT, subject_client_id(token.sub, client_id)),
        ]
    if token.reference:
        met.append((DenialKind.CLIENT_REFERENCES, token.client_id))
    if token.gid is not None:
        met.append((DenialKind.GRANT, token.gid))
    if token.sid is not None:
        met += [(DenialKind.SESSION, token.sid), (DenialKind.SUBJECT_SESSIONS, token.sub)]
    if token.key is not None:
        met.append((DenialKind.KEY, token.key))
    return met


def judge(token: IssuedToken, denying: Iterable[Recorded], at: datetime) -> Verdict:
    """The verdict on a token that had been issued, from all facts up to the moment that may deny it."""
    met = frozenset(met_by(token))
    found = [
        (recorded, denial)
        for recorded in sorted(denying, key=position_of)
        for denial in recorded.event.denies()
        if (denial.kind, denial.id) in met
    ]
    told = [numbered(number, position_of(recorded), denial) for number, (recorded, denial) in enumerate(found, start=1)]
    seen = as_seen(token)
    reason = Reason.EXPIRED if at >= token.expires_at + LEEWAY else denied_by(told, seen, token.key)
    causes = []
    for (recorded, denial), one in zip(found, told, strict=True):
        if one.rule is sdk.DenialRule.LIFTED and not any(_lifts(one, earlier) for earlier in told):
            continue  # nothing stood: it is how a key is announced, for one
        # Alone, but for what lifted it later.
        alone = [one, *(later for later in told if _lifts(later, one))]
        denied_for = denied_by(alone, seen, token.key)
        what = _STANDS[denial.rule].format(kind=_CALLED[denial.kind])
        if denial.rule is not DenialRule.LIFTED and denied_for is None:
            lifted = denial.rule is DenialRule.STANDING and denial.kind not in _ONLY_FOR_SESSIONS
            what += ", and was lifted" if lifted else ", and this one came later or is spared"
        causes.append(Cause(recorded, what, denied_for is not None and denied_for is reason))
    return Verdict(reason is None, reason or "", tuple(causes))


def _lifts(later: sdk.Denial, one: sdk.Denial) -> bool:
    same = (later.kind, later.id) == (one.kind, one.id)
    stood = one.rule is sdk.DenialRule.STANDING
    return same and stood and later.rule is sdk.DenialRule.LIFTED and later.number > one.number


def denied_by(denials: Sequence[sdk.Denial], seen: AccessToken, kid: str | None) -> Reason | None:
    """What a guard says that has heard of these; none of its kinds is ever so full that it forgets one."""
    # Guards know the key itself. Here only its name is known, so what the view does with that is done for it.
    if any(one.kind is sdk.DenialKind.KEY and one.id == kid and one.rule is sdk.DenialRule.STANDING for one in denials):
        return Reason.DENIED_KEY
    view = DenialView(most=max(100_000, len(denials) + 1))
    position = max((one.position for one in denials), default=1)
    number = max((one.number for one in denials), default=1)
    view.replace(Snapshot(position=position, number=number, epoch=1, denials=tuple(denials)))
    return view.denied(seen)


def numbered(number: int, position: int, denial: Denial) -> sdk.Denial:
    """A denial of a fact at a position, as guards are told of it."""
    return sdk.Denial(
        number=number,
        position=position,
        epoch=1,
        kind=sdk.DenialKind(denial.kind.value),
        id=denial.id,
        rule=sdk.DenialRule(denial.rule.value),
        except_id=denial.except_id,
        until=denial.until,
    )


def as_seen(token: IssuedToken) -> AccessToken:
    """The token as a view of denials looks at one."""
    said = Said(
        iss="",
        sub=token.sub,
        aud=token.audiences,
        client_id=token.client_id,
        scope=" ".join(token.scopes),
        iat=int(token.issued_at.timestamp()),
        exp=int(token.expires_at.timestamp()),
        jti=token.jti,
        pos=token.position,
        epoch=token.epoch,
        sid=token.sid,
        gid=token.gid,
        derived_from=token.derived_from,
        reference=token.kind if token.kind in {"pat", "sat"} else None,  # type: ignore[arg-type]  # one of the two
    )
    clients = (token.client_id, *token.actors)
    chain = (*clients, *token.derived_from)
    scopes = frozenset(token.scopes)
    return AccessToken(key=None, said=said, payload=b"", clients=clients, chain=chain, scopes=scopes)
