"""`grant_type=client_credentials` (RFC 6749 section 4.4): an application acts for itself, or as its service account."""

from services.identity.events import UserKind
from services.registry.events import GrantType
from services.token_issuer.clients import Presented, authenticate
from services.token_issuer.domain.access_token import Issue, decider
from services.token_issuer.events import KeyUse
from services.token_issuer.grants.answer import Answer
from services.token_issuer.issuer import Issuer, append_of, on_behalf_of
from services.token_issuer.scopes import asked, invalid_scope, permitted, roles
from services.token_issuer.tokens import Content, Issued, access_token
from services.token_issuer.views import Application, Known
from shared.denials import DenialKind
from shared.errors import Kind, Refusal
from shared.http.forms import Params
from shared.ids import new_id
from shared.log.append import Append, Fence


async def issue(issuer: Issuer, who: Presented, form: Params) -> Answer:
    """Issue an access token to the client itself. There is no refresh token (section 4.4.3)."""
    jti, context = new_id(), on_behalf_of(who.client_id)
    targets = form.all("resource")

    async def decide() -> tuple[Content, Append]:
        known = await issuer.questions.known(who.client_id, identifiers=targets)
        application = authenticate(known.application, who, issuer.clock())
        content = _content(issuer, application, known, form, jti)
        command = Issue(
            jti, content.client_id, content.sub, tuple(content.scopes), tuple(content.audiences), content.seconds
        )
        parties = ((DenialKind.CLIENT, content.client_id), (DenialKind.SUBJECT, content.sub))
        fence = Fence(known.as_of, parties)
        # The id is fresh: there is no stream to look at, neither here nor in the log.
        return content, append_of(decider.stream(jti), None, decider.decide(command, None), context, fence)

    content, appended = await issuer.write(decide)
    if appended is None:
        raise TypeError("a token is never issued without its event")
    issued = Issued(appended.epoch, appended.position, appended.recorded_at)
    token = access_token(issuer.keys.signer(KeyUse.ACCESS_TOKEN), issuer.policy.issuer, content, issued)
    return Answer(token, content.seconds, " ".join(content.scopes))


def _content(issuer: Issuer, application: Application, known: Known, form: Params, jti: str) -> Content:
    if not (application.confidential and application.uses(GrantType.CLIENT_CREDENTIALS)):
        raise Refusal(Kind.INVALID, "unauthorized_client", "the application may not use client_credentials")
    account, places = application.settings.service_account, issuer.policy.places
    user = known.user if account is not None else None
    if account is not None and not (user is not None and user.kind is UserKind.SERVICE and user.enabled):
        raise Refusal(Kind.INVALID, "unauthorized_client", "the application's service account cannot be used")
    wanted = asked(application, known.resources, form.get("scope"), form.all("resource"), places, with_user=False)
    access = permitted(wanted, application, known.resources, user, places)
    if not access.audiences or (form.get("scope") is not None and access.scopes != wanted.scopes):
        raise invalid_scope("the application's account may not have what was asked for")
    return Content(
        jti=jti,
        sub=application.client_id if account is None else account,
        client_id=application.client_id,
        scopes=access.scopes,
        audiences=access.audiences,
        seconds=issuer.policy.access_token_life(application),
        roles=roles(access.audiences, user, places),
    )
