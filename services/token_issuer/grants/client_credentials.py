"""`grant_type=client_credentials` (RFC 6749 section 4.4): an application acts for itself, or as its service account."""

from contextlib import suppress

from services.identity.events import UserKind
from services.registry.events import GrantType
from services.token_issuer.clients import Presented, proof
from services.token_issuer.domain.access_token import Issue, decider
from services.token_issuer.grants.answer import Answer, BoundAnswer
from services.token_issuer.grants.parts import key_of
from services.token_issuer.issuer import Issuer, append_of, on_behalf_of
from services.token_issuer.scopes import Terms, asked, invalid_scope, permitted, roles
from services.token_issuer.signing import SigningKey
from services.token_issuer.tokens import Content, Issued, access_token
from services.token_issuer.views import Application, Known
from shared.denials import DenialKind
from shared.errors import Kind, Refusal
from shared.http.forms import Params
from shared.ids import new_ordered_id
from shared.log.append import Append, Fence

Targets = tuple[str, ...]

_LONGEST_KEPT = 512
"""Characters of scopes and resources that terms are kept for: the same can be said in ever longer ways."""


async def issue(issuer: Issuer, who: Presented, form: Params) -> Answer:
    """Issue an access token to the client itself. There is no refresh token (section 4.4.3)."""
    jti, context = new_ordered_id(), on_behalf_of(who.client_id)
    targets = form.all("resource")
    lately = issuer.questions.lately(who.client_id, targets)

    async def decide() -> tuple[tuple[Content, SigningKey], Append]:
        nonlocal lately
        key = (await issuer.keys.active()).access_token
        known, lately = lately, None
        if known is not None:
            with suppress(Refusal):  # what has changed since may allow it
                return await decided(key, known)
        return await decided(key, await issuer.questions.known(who.client_id, identifiers=targets))

    async def decided(key: SigningKey, known: Known) -> tuple[tuple[Content, SigningKey], Append]:
        application = await issuer.authenticate(known.application, who)
        terms = _terms(issuer, application, known, form.get("scope"), targets)
        client_id, sub, scopes, audiences = (
            application.client_id,
            terms.sub,
            terms.access.scopes,
            terms.access.audiences,
        )
        shown = key_of(application, who, issuer.clock)
        jkt, x5t_s256 = (None, None) if shown is None else (shown.jkt, shown.x5t_s256)
        content = Content(
            jti, sub, client_id, scopes, audiences, terms.seconds, terms.roles, jkt=jkt, x5t_s256=x5t_s256
        )
        command = Issue(jti, client_id, sub, scopes, audiences, terms.seconds, jkt, x5t_s256)
        # A compromised key signs nothing, also where that is not known yet.
        whose = ((DenialKind.CLIENT, client_id), (DenialKind.SUBJECT, sub), (DenialKind.KEY, key.kid))
        fence = Fence(known.as_of, (*whose, *proof(who)))
        # The id is fresh: there is no stream to look at, neither here nor in the log.
        append = append_of(decider.stream(jti), None, decider.decide(command, None), context, fence)
        return (content, key), append

    (content, key), appended = await issuer.write(decide, who)
    if appended is None:
        raise TypeError("a token is never issued without its event")
    issued = Issued(appended.epoch, appended.position, appended.recorded_at)
    token = access_token(key, issuer.policy.issuer, content, issued)
    kind = Answer if content.jkt is None else BoundAnswer
    return kind(token, content.seconds, " ".join(content.scopes))


def _terms(issuer: Issuer, application: Application, known: Known, scope: str | None, targets: Targets) -> Terms:
    """What the application gets; the same again for as long as nothing that it depends on has changed."""
    if len(scope or "") + sum(map(len, targets)) > _LONGEST_KEPT:
        return _judge(issuer, application, known, scope, targets)
    return issuer.own_terms.of(
        (application.client_id, scope, targets),
        (application, known.resources, known.user),
        lambda: _judge(issuer, application, known, scope, targets),
    )


def _judge(issuer: Issuer, application: Application, known: Known, scope: str | None, targets: Targets) -> Terms:
    if not (application.confidential and application.uses(GrantType.CLIENT_CREDENTIALS)):
        raise Refusal(Kind.INVALID, "unauthorized_client", "the application may not use client_credentials")
    account, places = application.settings.service_account, issuer.policy.places
    user = known.user if account is not None else None
    if account is not None and not (user is not None and user.kind is UserKind.SERVICE and user.enabled):
        raise Refusal(Kind.INVALID, "unauthorized_client", "the application's service account cannot be used")
    wanted = asked(application, known.resources, scope, targets, places, with_user=False)
    access = permitted(wanted, application, known.resources, user, places)
    if not access.audiences or (scope is not None and access.scopes != wanted.scopes):
        raise invalid_scope("the application's account may not have what was asked for")
    return Terms(
        sub=application.client_id if account is None else account,
        access=access,
        roles=roles(access.audiences, user, places),
        seconds=issuer.policy.access_token_life(application),
    )
