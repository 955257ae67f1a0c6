"""BeginAuthorization: raw parameters become a sealed request, an error for the application, or one for the person."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.token_issuer import acr
from services.token_issuer.authorization.answers import Redirect, ResponseMode, answer
from services.token_issuer.authorization.checking import surroundings, targets
from services.token_issuer.authorization.parameters import Parameters
from services.token_issuer.authorization.pushed import PushedRequest
from services.token_issuer.authorization.pushing import URN, pulled
from services.token_issuer.authorization.redirects import origin
from services.token_issuer.authorization.request_object import effective, request_object, require_signed
from services.token_issuer.authorization.rules import (
    Destination,
    check,
    destination,
    invalid_request,
    login_hint,
    mode_to_answer_in,
    state_to_return,
    ui_locales,
)
from services.token_issuer.issuer import Issuer
from services.token_issuer.scopes import description
from services.token_issuer.sealing import AuthorizationRequest
from services.token_issuer.views import Application, Known
from shared.errors import Refusal, Unavailable


@dataclass(frozen=True, slots=True)
class Refused:
    """To be shown to the person: there is nobody to send them back to."""

    error: str
    description: str


@dataclass(frozen=True, slots=True)
class Proceed:
    """What the pages have to know to ask the person."""

    sealed: str
    request: AuthorizationRequest
    application: Application
    redirect_origin: str
    scopes: tuple[tuple[str, str], ...]
    """Each with what it lets the application do."""
    login_hint: str
    ui_locales: tuple[str, ...]
    skip_consent: bool
    second_factor_wished: bool
    second_factor_demanded: bool


Outcome = Proceed | Redirect | Refused


async def begin(issuer: Issuer, pairs: Sequence[tuple[str, str]]) -> Outcome:
    """Apply every rule to a request.

    Beside the reference to a pushed one nothing but the client_id is looked at (RFC 9126 section 4).
    """
    parameters = Parameters.of(pairs)
    client_id = parameters.trusted("client_id")
    if parameters.oversized:
        return Refused("invalid_request", "the request is too large")
    if client_id is None:
        return Refused("invalid_request", "client_id is missing, given more than once, or malformed")
    request_uri = parameters.trusted("request_uri")
    if request_uri is None or not request_uri.startswith(URN):
        return await _begin(issuer, client_id, parameters, None)
    try:
        pushed, pairs = await pulled(issuer, client_id, request_uri)
    except Unavailable:
        raise
    except Refusal as refusal:
        return Refused(refusal.code, refusal.message)
    return await _begin(issuer, client_id, Parameters.of(pairs), pushed)


async def _begin(issuer: Issuer, client_id: str, parameters: Parameters, pushed: PushedRequest | None) -> Outcome:
    there: Destination | None = None
    signed = request_object(parameters)
    asked = parameters if signed is None or signed.parameters is None else signed.parameters

    async def attempt() -> Proceed:
        nonlocal there, asked
        there = None
        known = await issuer.questions.known(client_id, identifiers=targets(asked))
        asked = await effective(issuer, known.application, parameters, signed)
        there = destination(known.application, asked)
        if pushed is None:
            if there.application.settings.require_pushed_authorization_requests:
                raise invalid_request("this application has to push its requests beforehand")
            require_signed(there.application, signed)
        request = replace(check(there, asked, surroundings(issuer, known)), head=known.head)
        if pushed is not None:
            request = replace(request, pushed=pushed.digest, pushed_until=pushed.expires_at)
        return _proceed(issuer, there.application, request, known, asked)

    try:
        return await issuer.patiently(attempt)
    except Unavailable:
        raise
    except Refusal as refusal:
        if there is None:
            return Refused(refusal.code, refusal.message)
        mode = mode_to_answer_in(there, asked)
        return error(issuer, there.redirect_uri, mode, state_to_return(asked), refusal)


def error(issuer: Issuer, redirect_uri: str, mode: ResponseMode, state: str | None, refusal: Refusal) -> Redirect:
    """Where an error goes (RFC 6749 section 4.1.2.1); `iss` says whose it is (RFC 9207)."""
    return answer(
        redirect_uri,
        mode,
        {
            "error": refusal.code,
            "error_description": refusal.message,
            "state": state,
            "iss": issuer.policy.issuer,
        },
    )


def _proceed(
    issuer: Issuer, application: Application, request: AuthorizationRequest, known: Known, parameters: Parameters
) -> Proceed:
    return Proceed(
        sealed=issuer.sealing.seal(request),
        request=request,
        application=application,
        redirect_origin=origin(request.redirect_uri),
        scopes=tuple((scope, description(scope, known.resources)) for scope in request.scopes),
        login_hint=login_hint(parameters),
        ui_locales=tuple(ui_locales(parameters)),
        skip_consent=application.settings.first_party and application.confidential,
        second_factor_wished=acr.wished(parameters.get("acr_values")),
        second_factor_demanded=acr.demanded(request.acr),
    )
