"""IssueCode and RefuseAuthorization: how an authorization request ends."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.identity.events import UserKind
from services.token_issuer.acr import met
from services.token_issuer.authorization.answers import Redirect, ResponseMode, answer
from services.token_issuer.authorization.begin import error
from services.token_issuer.authorization.pushing import invalid_request_uri, used_up
from services.token_issuer.authorization.redirects import registered
from services.token_issuer.authorization.rules import unmet
from services.token_issuer.domain.grant import Open, decider
from services.token_issuer.issuer import Issuer, append_of
from services.token_issuer.refreshing import new_code
from services.token_issuer.scopes import OFFLINE_ACCESS, Access, Places, narrowed, permitted, roles
from services.token_issuer.sealing import AuthorizationRequest
from services.token_issuer.views import Application, Known, User, parties
from shared.denials import DenialKind
from shared.errors import Kind, Refusal
from shared.ids import digest, new_ordered_id
from shared.log.append import AlreadyUsed, Append, Context, Fence

LEEWAY = timedelta(seconds=5)
"""By which the clocks of identity and issuer may differ."""

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

MOST_METHODS = 10


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who signed in, and what they agreed to, as the identity service says."""

    sid: str
    sub: str
    auth_time: datetime
    amr: tuple[str, ...]
    consented: tuple[str, ...]


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
    if not set(person.consented) <= set(request.scopes):
        raise Refusal(Kind.INVALID, "invalid_request", "more was agreed to than was asked for")
    if len(person.amr) > MOST_METHODS:
        raise Refusal(Kind.INVALID, "invalid_request", "too many authentication methods")
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
            user = _user(known, request, person, now)
            _check_not_stopped(known, max(minimum, request.head))
            access = _access(application, user, known, issuer.policy.places, request=request, person=person)
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
            code_lifetime=issuer.policy.code,
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
        refusal = refusal or _denied("nothing was given")
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
    return _error(issuer, request, Refusal(Kind.INVALID, code, REFUSALS[code]))


def _error(issuer: Issuer, request: AuthorizationRequest, refusal: Refusal) -> Redirect:
    return error(issuer, request.redirect_uri, ResponseMode(request.response_mode), request.state, refusal)


def _application(known: Known, request: AuthorizationRequest) -> Application:
    """The application as it is now; where it has lost the redirect URI meanwhile, nobody is sent there."""
    application = known.application
    if application is None or not application.enabled or not registered(application, request.redirect_uri):
        raise Refusal(Kind.PRECONDITION, "invalid_client", "the application was disabled or changed meanwhile")
    return application


def _user(known: Known, request: AuthorizationRequest, person: SignedIn, now: datetime) -> User:
    """The person, if their session goes on and is new enough for what was asked."""
    user, session = known.user, known.session
    if user is None or not user.enabled or user.kind is UserKind.SERVICE:
        raise _denied("this user cannot sign in to an application")
    if session is None or not session.open(user, now):
        raise _login("the session has ended")
    if request.expected_sub is not None and request.expected_sub != user.sub:
        raise _login("somebody else is signed in")
    if person.auth_time > now + LEEWAY:
        raise _login("the sign-in has not happened yet")
    since = request.begun_at - LEEWAY
    if "login" in request.prompt and person.auth_time < since:
        raise _login("the person had to sign in again, and did not")
    if request.max_age is not None and person.auth_time < since - timedelta(seconds=request.max_age):
        raise _login("the sign-in is too long ago")
    if request.acr and met(person.amr, request.acr) is None:
        raise unmet()
    return user


def _check_not_stopped(known: Known, agreed: int) -> None:
    """Refuse if the person has stopped the application since they agreed, which identity may not have seen yet."""
    for denial in known.denials:
        if denial.kind is DenialKind.SUBJECT_CLIENT and denial.position > agreed:
            raise _denied("the person has stopped the application meanwhile")


def _access(  # noqa: PLR0913  (each is one independent fact)
    application: Application,
    user: User,
    known: Known,
    places: Places,
    *,
    request: AuthorizationRequest,
    person: SignedIn,
) -> Access:
    """What the person may give and did."""
    if user.kind is UserKind.INTERNAL and UserKind.INTERNAL not in application.settings.user_kinds:
        raise _denied("the application does not admit this kind of user")
    asked = Access(request.scopes, request.audiences)
    possible = permitted(asked, application, known.resources, user, places)
    if request.scopes_given and places.management in request.audiences and places.management not in possible.audiences:
        raise _denied("management is for administrators and auditors")
    agreed = tuple(scope for scope in possible.scopes if scope in person.consented)
    if not agreed or not possible.audiences:
        raise _denied("nothing is left that this person could give")
    try:
        return narrowed(possible, known.resources, " ".join(agreed), (), places)
    except Refusal:
        raise _denied("nothing is left that this person could give") from None


def _denied(message: str) -> Refusal:
    return Refusal(Kind.FORBIDDEN, "access_denied", message)


def _login(message: str) -> Refusal:
    return Refusal(Kind.FORBIDDEN, "login_required", message)
