"""IssueCode and RefuseAuthorization: how an authorization request ends."""

from dataclasses import dataclass

from services.token_issuer.acr import met
from services.token_issuer.authorization.answers import Redirect, ResponseMode, answer
from services.token_issuer.authorization.begin import error
from services.token_issuer.authorization.person import SignedIn, check_not_stopped, check_said, denied, given, user_of
from services.token_issuer.authorization.pushing import invalid_request_uri, used_up
from services.token_issuer.authorization.redirects import registered
from services.token_issuer.authorization.rules import check_changed
from services.token_issuer.domain.grant import Open, decider
from services.token_issuer.issuer import Issuer, append_of
from services.token_issuer.refreshing import new_code
from services.token_issuer.scopes import OFFLINE_ACCESS, roles
from services.token_issuer.sealing import AuthorizationRequest
from services.token_issuer.views import Application, Known, parties
from shared.errors import Kind, Refusal
from shared.ids import digest, new_ordered_id
from shared.log.append import AlreadyUsed, Append, Context, Fence

REFUSALS = {
    "access_denied": "the person said no",
    "login_required": "nobody is signed in",
    "consent_required": "the person has to be asked",
    "interaction_required": "the person has to be asked something",
    "account_selection_required": "the person has to choose an account",
    "unmet_authentication_requirements": "no sign-in of this person is worth what the application asks for",
}
"""OpenID Connect Core section 3.1.2.6, RFC 6749 section 4.1.2.1, and OpenID Connect Core Error Code
unmet_authentication_requirements."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Where to send the browser, and where in the log the grant began; 0 where there is none."""

    redirect: Redirect
    position: int


async def issue_code(issuer: Issuer, sealed: str, person: SignedIn, minimum: int, context: Context) -> Sent:
    """Open the grant; or send the application an error, where the person may not have what it asks for.

    `minimum` is the position up to which identity knew of the session and of what the person agreed to.
    """
    issuer.check_switch()
    request = issuer.sealing.open(sealed, issuer.clock())
    _check_browser(request)
    check_said(request, person)
    await issuer.following.reach(max(minimum, request.position))
    gid = new_ordered_id()
    code = new_code(gid)

    async def decide() -> tuple[Refusal | None, Append | None]:
        known = await issuer.questions.known(
            request.client_id, sub=person.sub, sid=person.sid, identifiers=request.audiences
        )
        now = issuer.clock()
        application = _application(known, request)
        try:
            user = user_of(known, request, person, now)
            check_not_stopped(known, max(minimum, request.head))
            check_changed(application, request)
            access = given(application, user, known, issuer.policy.places, request=request, person=person)
        except Refusal as refusal:
            return refusal, None
        command = Open(
            gid=gid,
            client_id=request.client_id,
            sub=user.sub,
            sid=person.sid,
            scopes=access.scopes,
            audiences=access.audiences,
            redirect_uri=request.redirect_uri,
            redirect_uri_given=request.redirect_uri_given,
            code_digest=digest(code),
            code_challenge=request.code_challenge,
            nonce=request.nonce,
            auth_time=person.auth_time,
            amr=person.amr,
            acr=met(person.amr, request.acr),
            roles=roles(access.audiences, user, issuer.policy.places),
            now=now,
            code_lifetime=issuer.policy.code_life(application),
            refresh_lifetime=issuer.policy.refresh_life(application) if OFFLINE_ACCESS in access.scopes else None,
            dpop_jkt=request.dpop_jkt,
        )
        fence = Fence(known.as_of, parties(request.client_id, user.sub, person.sid))
        append = append_of(decider.stream(gid), 0, decider.decide(command, None), context, fence)
        return None, used_up(append, request.pushed, request.pushed_until, issuer.policy.authorization)

    try:
        refusal, appended = await issuer.write(decide)
    except AlreadyUsed:
        return Sent(_error(issuer, request, invalid_request_uri()), 0)
    if refusal is not None or appended is None:
        refusal = refusal or denied("nothing was given")
        return Sent(_error(issuer, request, refusal), 0)
    parameters = {"code": code, "state": request.state, "iss": issuer.policy.issuer}
    mode = ResponseMode(request.response_mode)
    return Sent(answer(request.redirect_uri, mode, parameters), appended.position)


def refuse(issuer: Issuer, sealed: str, code: str) -> Redirect:
    """Where to send the browser when the person, or `prompt=none`, refuses."""
    issuer.check_switch()
    if code not in REFUSALS:
        raise Refusal(Kind.INVALID, "invalid_request", "this is not an error that a person's answer can be")
    request = issuer.sealing.open(sealed, issuer.clock())
    _check_browser(request)
    return _error(issuer, request, Refusal(Kind.INVALID, code, REFUSALS[code]))


def _check_browser(request: AuthorizationRequest) -> None:
    if request.device is not None:
        raise Refusal(Kind.INVALID, "invalid_request", "a device asked for this: no browser is sent anywhere")


def _error(issuer: Issuer, request: AuthorizationRequest, refusal: Refusal) -> Redirect:
    return error(issuer, request.redirect_uri, ResponseMode(request.response_mode), request.state, refusal)


def _application(known: Known, request: AuthorizationRequest) -> Application:
    """The application as it is now; where it has lost the redirect URI meanwhile, nobody is sent there."""
    application = known.application
    if application is None or not application.enabled or not registered(application, request.redirect_uri):
        raise Refusal(Kind.PRECONDITION, "invalid_client", "the application was disabled or changed meanwhile")
    return application
