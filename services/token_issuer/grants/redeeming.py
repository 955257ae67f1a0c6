"""What the two grants whose code a person's answer made good have in common: a code for tokens, once."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.token_issuer.clients import Presented
from services.token_issuer.domain.grant import Grant, Redeem, decider
from services.token_issuer.grants.answer import Answer, of_grant
from services.token_issuer.grants.parts import allowed_now, ended, fence, key_of, part
from services.token_issuer.issuer import Issuer, append_of
from services.token_issuer.keys import Signers
from services.token_issuer.tokens import Issued
from services.token_issuer.views import Application, Known, KnownGrant
from shared.ids import digest
from shared.log.append import Append, Appended, Context
from shared.log.event import Event


@dataclass(frozen=True, slots=True)
class Presentation:
    """A code as it was presented, and what is made for it in case it is good."""

    code: str
    by_device: bool
    redirect_uri: str | None
    verifier: str | None
    targets: Sequence[str]
    jti: str
    refresh_token: str
    """The first one of the grant, in case there is to be one."""


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What was decided."""

    state: Grant
    events: Sequence[Event]
    signers: Signers


def decide(  # noqa: PLR0913, PLR0917  (each is one independent fact)
    issuer: Issuer,
    who: Presented,
    known: Known,
    application: Application,
    found: KnownGrant,
    presented: Presentation,
    signers: Signers,
    context: Context,
) -> tuple[Redeemed, Append]:
    """What a code is exchanged for as things are now, or the refusal."""
    allowed = allowed_now(application, known, found, issuer.policy.places)
    access = part(allowed, known, None, presented.targets, issuer.policy.places)
    command = Redeem(
        client_id=application.client_id,
        code_digest=digest(presented.code),
        redirect_uri=presented.redirect_uri,
        verifier=presented.verifier,
        by_device=presented.by_device,
        denied=not access.audiences,
        jti=presented.jti,
        scopes=access.scopes,
        audiences=access.audiences,
        access_token_seconds=issuer.policy.access_token_life(application),
        refresh_digest=digest(presented.refresh_token),
        now=issuer.clock(),
        key=key_of(application, who, issuer.clock),
    )
    events = decider.decide(command, found.grant)
    state: Grant | None = found.grant
    for event in events:
        state = decider.evolve(state, event)
    if state is None:
        raise TypeError("a grant does not vanish")
    whole = fence(known, found, who, events, signers)
    append = append_of(decider.stream(state.gid), found.version, events, context, whole)
    return Redeemed(state, events, signers), append


def answer(issuer: Issuer, redeemed: Redeemed, refresh_token: str, appended: Appended | None) -> Answer:
    """The tokens, signed now that their event is in the log; or the refusal, where it was the grant's end."""
    if (refusal := ended(redeemed.events)) is not None:
        raise refusal
    if appended is None:
        raise TypeError("a code is never redeemed without an event")
    state = redeemed.state
    issued = Issued(appended.epoch, appended.position, appended.recorded_at)
    given = refresh_token if state.refresh_digest is not None else None
    return of_grant(issuer, redeemed.signers, state, issued, given, expires_in=state.access_token_seconds, first=True)
