"""`grant_type=authorization_code` (RFC 6749 section 4.1.3, RFC 7636 section 4.5): a code for tokens, once."""

from services.registry.events import GrantType
from services.token_issuer.clients import Presented
from services.token_issuer.domain.refusals import invalid_grant
from services.token_issuer.grants import redeeming
from services.token_issuer.grants.answer import Answer
from services.token_issuer.grants.redeeming import Presentation, Redeemed
from services.token_issuer.issuer import Issuer, on_behalf_of
from services.token_issuer.refreshing import grant_of_code
from shared.errors import Kind, Refusal
from shared.http.forms import Params
from shared.ids import new_ordered_id
from shared.log.append import Append


async def redeem(issuer: Issuer, who: Presented, form: Params) -> Answer:
    """Exchange a code."""
    code, targets = form.require("code"), form.all("resource")
    gid = grant_of_code(code)
    context = on_behalf_of(who.client_id)
    refresh_token = issuer.refresh_tokens.first(gid or "")
    presented = Presentation(
        code=code,
        by_device=False,
        redirect_uri=form.get("redirect_uri"),
        verifier=form.get("code_verifier"),
        targets=targets,
        jti=new_ordered_id(),
        refresh_token=refresh_token,
    )

    async def decide() -> tuple[Redeemed, Append]:
        keys = await issuer.keys.active()
        known = await issuer.questions.known(who.client_id, gid=gid, identifiers=targets)
        application = await issuer.authenticate(known.application, who)
        signers = keys.signers(application.settings.id_token_signed_response_alg)
        if not application.uses(GrantType.AUTHORIZATION_CODE):
            raise Refusal(Kind.INVALID, "unauthorized_client", "the application may not use authorization_code")
        found = known.grant
        if found is None or found.grant.client_id != application.client_id:
            raise invalid_grant("the code is not known for this client")
        return redeeming.decide(issuer, who, known, application, found, presented, signers, context)

    redeemed, appended = await issuer.write(decide, who)
    return redeeming.answer(issuer, redeemed, refresh_token, appended)
