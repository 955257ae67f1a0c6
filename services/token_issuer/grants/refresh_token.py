"""`grant_type=refresh_token` (RFC 6749 section 6): rotation, a moment's grace, and an end to what was used twice.

That of an application that is held to the FAPI 2.0 Security Profile is not rotated (section 5.3.2.1, item 9): it is
worth nothing without the application's own key, and stays the same until its grant ends.
"""

from collections.abc import Sequence
from typing import Final

from services.registry.events import GrantType
from services.token_issuer.clients import Presented
from services.token_issuer.domain.grant import Grant, Refresh, decider
from services.token_issuer.domain.refusals import invalid_grant
from services.token_issuer.events import RefreshTokenUsed
from services.token_issuer.grants.answer import Answer, of_grant
from services.token_issuer.grants.parts import allowed_now, ended, fence, key_of, part
from services.token_issuer.issuer import Issuer, append_of, on_behalf_of
from services.token_issuer.keys import Signers
from services.token_issuer.refreshing import RefreshTokens, grant_of_refresh_token
from services.token_issuer.tokens import Issued
from services.token_issuer.views import KnownGrant
from shared.errors import Kind, Refusal
from shared.http.forms import Params
from shared.ids import digest, new_ordered_id
from shared.log.append import Append
from shared.log.event import Event

_ATTEMPTS: Final = 16
"""Where a refresh token stays, an application may use it in as many places at once, and each use is a fact of its own.
Where it is rotated, all but one of these are repetitions, which meet nobody."""


async def refresh(issuer: Issuer, who: Presented, form: Params) -> Answer:
    """Exchange a refresh token for its successor, or repeat the answer of a moment ago; or use it, and leave it."""
    token, targets = form.require("refresh_token"), form.all("resource")
    gid = grant_of_refresh_token(token)
    successor = issuer.refresh_tokens.successor(token)
    context = on_behalf_of(who.client_id)
    jti = new_ordered_id()

    async def attempt() -> tuple[tuple[KnownGrant, Grant, Sequence[Event], Signers], Append | None]:
        keys = await issuer.keys.active()
        known = await issuer.questions.known(who.client_id, gid=gid, identifiers=targets)
        application = await issuer.authenticate(known.application, who)
        signers = keys.signers(application.settings.id_token_signed_response_alg)
        now = issuer.clock()
        if not application.uses(GrantType.REFRESH_TOKEN):
            raise Refusal(Kind.INVALID, "unauthorized_client", "the application may not use refresh_token")
        found = known.grant
        if found is None or found.grant.client_id != application.client_id:
            raise invalid_grant("the refresh token is not known for this client")
        allowed = allowed_now(application, known, found, issuer.policy.places)
        access = part(allowed, known, form.get("scope"), targets, issuer.policy.places)
        command = Refresh(
            client_id=application.client_id,
            presented_digest=digest(token),
            outdated=outdated(issuer.refresh_tokens, token, found),
            denied=not access.audiences,
            jti=jti,
            scopes=access.scopes,
            audiences=access.audiences,
            access_token_seconds=issuer.policy.access_token_life(application),
            successor_digest=digest(successor),
            grace=issuer.policy.grace,
            now=now,
            key=key_of(application, who, issuer.clock),
            rotates=not application.fapi2,
        )
        events = decider.decide(command, found.grant)
        state: Grant | None = found.grant
        for event in events:
            state = decider.evolve(state, event)
        if state is None:
            raise TypeError("a grant does not vanish")
        whole = fence(known, found, who, events, signers)
        append = append_of(decider.stream(state.gid), found.version, events, context, whole)
        return (found, state, events, signers), append if events else None

    async def decide() -> tuple[tuple[KnownGrant, Grant, Sequence[Event], Signers], Append | None]:
        decided, append = await attempt()
        if append is not None:
            return decided, append
        # A repetition appends nothing, so no fence tells what was not heard of: hear of everything first.
        await issuer.hear_everything()
        return await attempt()

    (found, state, events, signers), appended = await issuer.write(decide, who, _ATTEMPTS)
    if (refusal := ended(events)) is not None:
        raise refusal
    if appended is not None:
        issued = Issued(appended.epoch, appended.position, appended.recorded_at)
        # One that stays is not said again (section 6: a new one may be issued).
        given = None if isinstance(events[0], RefreshTokenUsed) else successor
        return of_grant(issuer, signers, state, issued, given, expires_in=state.access_token_seconds, first=False)
    issued = Issued(found.epoch, found.position, found.issued_at)
    left = issued.iat + state.access_token_seconds - int(issuer.clock().timestamp())
    expires_in = max(0, min(left, state.access_token_seconds))
    return of_grant(issuer, signers, state, issued, successor, expires_in=expires_in, first=False)


def outdated(tokens: RefreshTokens, token: str, found: KnownGrant) -> bool:
    """Whether the issuer gave this refresh token some rotations ago."""
    current = found.grant.refresh_digest
    if found.grant.previous_digest is None:  # it was never rotated, however often it was used
        return False
    return current is not None and digest(token) != current and tokens.leads_to(token, current, found.version)
