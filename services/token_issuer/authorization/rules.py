"""The rules of an authorization request (RFC 6749 section 4.1.1, RFC 7636, RFC 9700, OpenID Connect Core 3.1.2).

Two steps. `destination` finds out whether the browser may be sent back at all; as long as client and redirect URI are
not beyond doubt, nothing is redirected. `check` applies everything else, and its refusals go back to the application.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.registry.events import GrantType
from services.token_issuer import claims
from services.token_issuer.acr import ACR_VALUES
from services.token_issuer.authorization.answers import ResponseMode, suits
from services.token_issuer.authorization.parameters import Parameters
from services.token_issuer.authorization.redirects import registered
from services.token_issuer.scopes import OPENID, Places, asked, parse
from services.token_issuer.sealing import AuthorizationRequest
from services.token_issuer.views import Application, Resource
from shared.errors import Kind, Refusal

PROMPTS = ("none", "login", "consent", "select_account")
LONGEST_STATE = 2048
LONGEST_NONCE = 512
LONGEST_LOGIN_HINT = 256
MOST_LOCALES = 10

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
"""SHA-256 in base64url (RFC 7636 section 4.2)."""
_THUMBPRINT = _CHALLENGE
"""A thumbprint by SHA-256 is written alike (RFC 9449 section 10)."""
_MAX_AGE = re.compile(r"[0-9]{1,9}")
_LOCALE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}")

ReadHint = Callable[[str], Mapping[str, Any] | None]
"""The claims of an ID token of this issuer, expired or not; None where it is none."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the browser may be sent back to."""

    application: Application
    redirect_uri: str
    given: bool
    """It stood in the request."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a request is checked against."""

    resources: Sequence[Resource]
    places: Places
    read_hint: ReadHint
    now: datetime
    position: int


def destination(application: Application | None, parameters: Parameters) -> Destination:
    """The application and where to send the browser back to; a refusal from here is shown, never sent anywhere."""
    if application is None or not application.enabled:
        raise Refusal(Kind.INVALID, "invalid_client", "this application is not registered here, or it is disabled")
    known = application.settings.redirect_uris
    if "redirect_uri" in parameters.repeated:
        raise invalid_request("redirect_uri is given more than once")
    uri = parameters.get("redirect_uri")
    if uri is None:
        # OpenID Connect Core section 3.1.2.1 requires it; RFC 6749 section 3.1.2.3 does without where there is one.
        # The FAPI 2.0 Security Profile requires it as well (section 5.3.2.2, item 6).
        if len(known) != 1 or application.fapi2 or OPENID in (parameters.get("scope") or "").split(" "):
            raise invalid_request("redirect_uri is missing")
        return Destination(application, known[0], given=False)
    if not registered(application, uri):
        raise _refusal("invalid_redirect_uri", "redirect_uri is not registered for this application")
    return Destination(application, uri, given=True)


def check(there: Destination, parameters: Parameters, around: Surroundings) -> AuthorizationRequest:
    """The request, every rule applied; raises a refusal that goes back to the application."""
    _check_form(parameters)
    _check_kind(there.application, parameters)
    nonce = _bounded(parameters, "nonce", LONGEST_NONCE)
    prompt = _prompt(parameters.get("prompt"))
    wanted = claims.parse(parameters.get("claims"))
    scopes = parse(parameters.get("scope"))
    access = asked(
        there.application,
        around.resources,
        _with_claims(scopes, wanted),
        parameters.all("resource"),
        around.places,
        with_user=True,
    )
    return AuthorizationRequest(
        client_id=there.application.client_id,
        redirect_uri=there.redirect_uri,
        redirect_uri_given=there.given,
        scopes=access.scopes,
        audiences=access.audiences,
        scopes_given=bool(scopes),
        state=parameters.get("state"),
        nonce=nonce,
        code_challenge=_challenge(there.application, parameters),
        response_mode=_response_mode(there, parameters).value,
        prompt=prompt,
        max_age=_max_age(parameters.get("max_age")),
        expected_sub=_expected_sub(there.application, parameters.get("id_token_hint"), around.read_hint, wanted.sub),
        acr=_acr(wanted),
        dpop_jkt=_dpop_jkt(parameters.get("dpop_jkt")),
        begun_at=around.now,
        position=around.position,
    )


def check_changed(application: Application, request: AuthorizationRequest) -> None:
    """Refuse a request that was begun in a way that the application may not any more."""
    settings = application.settings
    unpushed = settings.require_pushed_authorization_requests and request.pushed is None
    if unpushed or (settings.require_pkce and request.code_challenge is None):
        raise invalid_request("the application has to ask in another way since it was changed")


def state_to_return(parameters: Parameters) -> str | None:
    """The `state` for an answer, which is as trustworthy as it has to be: one, and of a length that fits."""
    state = parameters.trusted("state")
    return state if state is not None and len(state) <= LONGEST_STATE else None


def mode_to_answer_in(there: Destination, parameters: Parameters) -> ResponseMode:
    """How an error goes back: as was asked for, if that can be understood, else as an answer to a code request does."""
    asked_for = parameters.trusted("response_mode")
    mode = ResponseMode(asked_for) if asked_for in set(ResponseMode) else ResponseMode.QUERY
    return mode if suits(mode, there.redirect_uri) else ResponseMode.QUERY


def login_hint(parameters: Parameters) -> str:
    """A name for the sign-in page to begin with; one that is too long to be a name is left aside."""
    hint = parameters.get("login_hint") or ""
    return hint if len(hint) <= LONGEST_LOGIN_HINT else ""


def ui_locales(parameters: Parameters) -> list[str]:
    """Languages, best first (OpenID Connect Core section 3.1.2.1); what is no language tag is left aside."""
    tags = (parameters.get("ui_locales") or "").split(" ")
    return [tag for tag in tags if _LOCALE.fullmatch(tag)][:MOST_LOCALES]


def invalid_request(message: str) -> Refusal:
    """RFC 6749 section 4.1.2.1."""
    return _refusal("invalid_request", message)


def unmet() -> Refusal:
    """OpenID Connect Core Error Code unmet_authentication_requirements."""
    return _refusal("unmet_authentication_requirements", "no sign-in here is worth what the application asks for")


def _check_form(parameters: Parameters) -> None:
    if parameters.repeated:
        raise invalid_request("a parameter is given more than once")
    if (name := parameters.faulty()) is not None:
        raise invalid_request(f"{name} is too long, or holds a control character")
    _bounded(parameters, "state", LONGEST_STATE)
    for name, code in (
        ("request", "request_not_supported"),
        ("request_uri", "request_uri_not_supported"),
        ("registration", "registration_not_supported"),
    ):
        if parameters.get(name) is not None:
            raise _refusal(code, f"{name} is not supported")  # OpenID Connect Core section 3.1.2.6


def _check_kind(application: Application, parameters: Parameters) -> None:
    response_type = parameters.get("response_type")
    if response_type is None:
        raise invalid_request("response_type is missing")
    if response_type != "code":
        raise _refusal("unsupported_response_type", "response_type has to be code")
    if not application.uses(GrantType.AUTHORIZATION_CODE):
        raise _refusal("unauthorized_client", "the application may not use authorization codes")


def _response_mode(there: Destination, parameters: Parameters) -> ResponseMode:
    mode = mode_to_answer_in(there, parameters)
    if parameters.get("response_mode") not in (None, mode):
        raise invalid_request("response_mode is not supported, or not for this redirect_uri")
    return mode


def _with_claims(scopes: tuple[str, ...], wanted: claims.AskedClaims) -> str:
    """The scopes, and those of the claims asked for one by one, which only OpenID Connect knows."""
    single = claims.scopes_for(wanted, scopes) if OPENID in scopes else ()
    return " ".join((*scopes, *single))


def _challenge(application: Application, parameters: Parameters) -> str | None:
    """PKCE with S256, which nobody but a confidential application may be allowed to go without (RFC 9700, 2.1.1)."""
    challenge, method = parameters.get("code_challenge"), parameters.get("code_challenge_method")
    if challenge is None:
        if method is not None:
            raise invalid_request("code_challenge_method stands without a code_challenge")
        if application.settings.require_pkce or not application.confidential:
            raise invalid_request("code_challenge is missing: this application has to use PKCE")
        return None
    if method != "S256":
        raise invalid_request("code_challenge_method has to be S256")
    if not _CHALLENGE.fullmatch(challenge):
        raise invalid_request("code_challenge is not a SHA-256 in base64url")
    return challenge


def _dpop_jkt(thumbprint: str | None) -> str | None:
    """The key that the code is for (RFC 9449 section 10)."""
    if thumbprint is not None and not _THUMBPRINT.fullmatch(thumbprint):
        raise invalid_request("dpop_jkt is not the SHA-256 thumbprint of a key")
    return thumbprint


def _prompt(text: str | None) -> tuple[str, ...]:
    prompts = tuple(dict.fromkeys(word for word in (text or "").split(" ") if word))
    if not set(prompts) <= set(PROMPTS):
        raise invalid_request("prompt has a value that is not supported")
    if "none" in prompts and len(prompts) > 1:
        raise invalid_request("prompt=none cannot stand with another value")
    return prompts


def _max_age(text: str | None) -> int | None:
    if text is None:
        return None
    if not _MAX_AGE.fullmatch(text):
        raise invalid_request("max_age is not a number of seconds")
    return int(text)


def _expected_sub(
    application: Application, hint: str | None, read_hint: ReadHint, wanted_sub: str | None
) -> str | None:
    """The user that the answer has to be about (OpenID Connect Core sections 3.1.2.1 and 3.1.2.2).

    An ID token that was given to this application before names one, or the `claims` parameter does.
    """
    if hint is None:
        return wanted_sub
    hinted = read_hint(hint)
    if hinted is None or hinted.get("aud") != application.client_id:
        raise invalid_request("id_token_hint is not an ID token that this application was given")
    if wanted_sub not in (None, hinted["sub"]):
        raise invalid_request("id_token_hint and claims name two users")
    return str(hinted["sub"])


def _acr(wanted: claims.AskedClaims) -> tuple[str, ...]:
    """What the sign-in has to be worth (OpenID Connect Core section 5.5.1.1); `acr_values` is a wish (3.1.2.1)."""
    possible = tuple(value for value in ACR_VALUES if value in wanted.acr)
    if wanted.acr and not possible:
        raise unmet()
    return possible


def _bounded(parameters: Parameters, name: str, longest: int) -> str | None:
    value = parameters.get(name)
    if value is not None and len(value) > longest:
        raise invalid_request(f"{name} is longer than {longest} characters")
    return value


def _refusal(code: str, message: str) -> Refusal:
    return Refusal(Kind.INVALID, code, message)
