"""What a person who signed in gives an application: their word is the identity service's, the rules are here."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.identity.events import UserKind
from services.token_issuer.acr import met
from services.token_issuer.authorization.rules import unmet
from services.token_issuer.scopes import Access, Places, narrowed, permitted
from services.token_issuer.sealing import AuthorizationRequest
from services.token_issuer.views import Application, Known, User
from shared.denials import DenialKind
from shared.errors import Kind, Refusal

LEEWAY = timedelta(seconds=5)
"""By which the clocks of identity and issuer may differ."""

MOST_METHODS = 10


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who signed in, and what they agreed to, as the identity service says."""

    sid: str
    sub: str
    auth_time: datetime
    amr: tuple[str, ...]
    consented: tuple[str, ...]


def check_said(request: AuthorizationRequest, person: SignedIn) -> None:
    """Refuse what the identity service cannot have been told."""
    if not set(person.consented) <= set(request.scopes):
        raise Refusal(Kind.INVALID, "invalid_request", "more was agreed to than was asked for")
    if len(person.amr) > MOST_METHODS:
        raise Refusal(Kind.INVALID, "invalid_request", "too many authentication methods")


def user_of(known: Known, request: AuthorizationRequest, person: SignedIn, now: datetime) -> User:
    """The person, if their session goes on and is new enough for what was asked."""
    user, session = known.user, known.session
    if user is None or not user.enabled or user.kind is UserKind.SERVICE:
        raise denied("this user cannot sign in to an application")
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


def check_not_stopped(known: Known, agreed: int) -> None:
    """Refuse if the person has stopped the application since they agreed, which identity may not have seen yet."""
    for denial in known.denials:
        if denial.kind is DenialKind.SUBJECT_CLIENT and denial.position > agreed:
            raise denied("the person has stopped the application meanwhile")


def given(  # noqa: PLR0913  (each is one independent fact)
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
        raise denied("the application does not admit this kind of user")
    asked = Access(request.scopes, request.audiences)
    possible = permitted(asked, application, known.resources, user, places)
    if request.scopes_given and places.management in request.audiences and places.management not in possible.audiences:
        raise denied("management is for administrators and auditors")
    agreed = tuple(scope for scope in possible.scopes if scope in person.consented)
    if not agreed or not possible.audiences:
        raise denied("nothing is left that this person could give")
    try:
        return narrowed(possible, known.resources, " ".join(agreed), (), places)
    except Refusal:
        raise denied("nothing is left that this person could give") from None


def denied(message: str) -> Refusal:
    """The answer to the application: this person cannot give it that, or does not want to."""
    return Refusal(Kind.FORBIDDEN, "access_denied", message)


def _login(message: str) -> Refusal:
    return Refusal(Kind.FORBIDDEN, "login_required", message)
