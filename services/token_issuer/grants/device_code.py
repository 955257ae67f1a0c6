"""`grant_type=urn:ietf:params:oauth:grant-type:device_code` (RFC 8628 section 3.4): asked until a person has answered.

As long as nobody has, a question is one statement, and appends nothing: it notes when the device asked. Once somebody
allowed it, there is a grant whose code is the device code, and all that holds for codes holds for it.
"""

from datetime import datetime

from services.token_issuer.authorization.device import check_uses
from services.token_issuer.authorization.device_codes import grant_of_device_code
from services.token_issuer.authorization.device_requests import Polled
from services.token_issuer.clients import Presented
from services.token_issuer.domain.refusals import (
    access_denied,
    authorization_pending,
    expired_token,
    invalid_grant,
    slow_down,
)
from services.token_issuer.grants import redeeming
from services.token_issuer.grants.answer import Answer
from services.token_issuer.grants.redeeming import Presentation, Redeemed
from services.token_issuer.issuer import Issuer, on_behalf_of
from shared.errors import Refusal
from shared.http.forms import Params
from shared.ids import digest, new_ordered_id
from shared.log.append import Append


async def poll(issuer: Issuer, who: Presented, form: Params) -> Answer:
    """Exchange a device code, if somebody has allowed it; else say how it stands (section 3.5)."""
    code, targets = form.require("device_code"), form.all("resource")
    gid = grant_of_device_code(code)
    code_digest = digest(code)
    context = on_behalf_of(who.client_id)
    refresh_token = issuer.refresh_tokens.first(gid or "")
    presented = Presentation(
        code=code,
        by_device=True,
        redirect_uri=None,
        verifier=None,
        targets=targets,
        jti=new_ordered_id(),
        refresh_token=refresh_token,
    )

    async def decide() -> tuple[Redeemed, Append]:
        now = issuer.clock()
        known, asked = await issuer.questions.polled(who.client_id, gid, code_digest, targets, now)
        application = await issuer.authenticate(known.application, who)
        check_uses(application)
        found = known.grant
        if found is None or found.grant.client_id != application.client_id:
            raise unanswered(asked, now)
        signers = (await issuer.keys.active()).signers(application.settings.id_token_signed_response_alg)
        return redeeming.decide(issuer, who, known, application, found, presented, signers, context)

    redeemed, appended = await issuer.write(decide, who)
    return redeeming.answer(issuer, redeemed, refresh_token, appended)


def unanswered(asked: Polled | None, now: datetime) -> Refusal:
    """How it stands as long as no grant has come of it."""
    if asked is None:
        return invalid_grant("the device code is not known for this client")
    if asked.refused:
        return access_denied()
    if now >= asked.expires_at:
        return expired_token()
    return slow_down(asked.interval_seconds) if asked.hasty else authorization_pending()
