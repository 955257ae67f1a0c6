"""`grant_type=authorization_code` (RFC 6749 section 4.1.3, RFC 7636 section 4.5): a code for tokens, once."""

from collections.abc import Sequence

from services.registry.events import GrantType
from services.token_issuer.clients import Presented
from services.token_issuer.domain.grant import Grant, Redeem, decider
from services.token_issuer.domain.refusals import invalid_grant
from services.token_issuer.grants.answer import Answer, of_grant
from services.token_issuer.grants.parts import allowed_now, ended, fence, key_of, part
from services.token_issuer.issuer import Issuer, append_of, on_behalf_of
from services.token_issuer.keys import Signers
from services.token_issuer.refreshing import grant_of_code
from services.token_issuer.tokens import Issued
from shared.errors import Kind, Refusal
from shared.http.forms import Params
from shared.ids import digest, new_ordered_id
from shared.log.append import Append
from shared.log.event import Event


async def redeem(issuer: Issuer, who: Presented, form: Params) -> Answer:
    """Exchange a code."""
    code, targets = form.require("code"), form.all("resource")
    gid = grant_of_code(code)
    context = on_behalf_of(who.client_id)
    jti, refresh_token = new_ordered_id(), issuer.refresh_tokens.first(gid or "")

    async def decide() -> tuple[tuple[Grant | None, Sequence[Event], Signers], Append]:
        keys = await issuer.keys.active()
        known = await issuer.questions.known(who.client_id, gid=gid, identifiers=targets)
        application = await issuer.authenticate(known.application, who)
        signers = keys.signers(application.settings.id_token_signed_response_alg)
        now = issuer.clock()
        if not application.uses(GrantType.AUTHORIZATION_CODE):
            raise Refusal(Kind.INVALID, "unauthorized_client", "the application may not use authorization_code")
        found = known.grant
        if found is None or found.grant.client_id != application.client_id:
            raise invalid_grant("the code is not known for this client")
        allowed = allowed_now(application, known, found, issuer.policy.places)
        access = part(allowed, known, None, targets, issuer.policy.places)
        command = Redeem(
            client_id=application.client_id,
            code_digest=digest(code),
            redirect_uri=form.get("redirect_uri"),
            verifier=form.get("code_verifier"),
            denied=not access.audiences,
            jti=jti,
            scopes=access.scopes,
            audiences=access.audiences,
            access_token_seconds=issuer.policy.access_token_life(application),
            refresh_digest=digest(refresh_token),
            now=now,
            key=key_of(application, who),
        )
        events = decider.decide(command, found.grant)
        state: Grant | None = found.grant
        for event in events:
            state = decider.evolve(state, event)
        stream = decider.stream(found.grant.gid)
        whole = fence(known, found, who, events, signers)
        return (state, events, signers), append_of(stream, found.version, events, context, whole)

    (state, events, signers), appended = await issuer.write(decide, who)
    if (refusal := ended(events)) is not None:
        raise refusal
    if appended is None or state is None:
        raise TypeError("a code is never redeemed without an event")
    issued = Issued(appended.epoch, appended.position, appended.recorded_at)
    given = refresh_token if state.refresh_digest is not None else None
    return of_grant(issuer, signers, state, issued, given, expires_in=state.access_token_seconds, first=True)
