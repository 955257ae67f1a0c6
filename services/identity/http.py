"""The addresses of the identity service, and what a page says when something is refused."""

from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from urllib.parse import urlsplit

from msgspec.json import encode
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.identity.issuer import NotTrusted
from services.identity.pages.account import Account
from services.identity.pages.authorize import Authorize
from services.identity.pages.consent import Consent
from services.identity.pages.device import Device
from services.identity.pages.installing import InstallPages, LinkRefused
from services.identity.pages.own_access import OwnAccessPage
from services.identity.pages.own_tokens import OwnTokens
from services.identity.pages.passkeys import PasskeysPage
from services.identity.pages.pending import PageExpired
from services.identity.pages.second_factor import SecondFactorPage
from services.identity.pages.signin import SignIn
from services.identity.pages.signin_by_passkey import SignInByPasskey
from services.identity.pages.signin_by_two import SignInByTwo, StepUp
from services.identity.pages.signout import SignOut
from services.identity.pages.site import Site, course
from services.identity.userinfo import Userinfo, metadata, metadata_path
from shared.errors import Refusal, TooManyRequests, Unavailable
from shared.http.errors import STATUS, HttpRefusal
from shared.pages.forms import ForeignForm
from shared.telemetry import course_of, logger

_log = logger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


def application(site: Site, userinfo: Userinfo, issuer: str) -> Starlette:
    """Everything under the issuer's path that this service answers."""
    base = urlsplit(issuer).path.rstrip("/")
    authorize = Authorize(site)
    sign_in = SignIn(site, authorize)
    device = Device(site)
    consent = Consent(site, authorize, device)
    sign_out = SignOut(site)
    account = Account(site)
    own_access = OwnAccessPage(site)
    own_tokens = OwnTokens(site)
    by_two = SignInByTwo(site, authorize)
    step_up = StepUp(site, authorize)
    second_factor = SecondFactorPage(site)
    by_passkey = SignInByPasskey(site, authorize)
    passkeys = PasskeysPage(site)
    install = InstallPages(site)
    described = encode(metadata(issuer, certificates=userinfo.takes_certificates))

    async def static(request: Request) -> Response:
        found = site.pages.static(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return found

    async def resource_metadata(_: Request) -> Response:
        return Response(described, media_type="application/json", headers={"access-control-allow-origin": "*"})

    async def on_refusal(_: Request, failure: Exception) -> Response:
        return refused(site, failure)

    async def on_http_exception(_: Request, failure: Exception) -> Response:
        return not_here(site, failure)

    async def on_failure(request: Request, failure: Exception) -> Response:
        return failed(site, request, failure)

    pages: list[tuple[str, Endpoint | None, Endpoint | None]] = [
        ("/connect/authorize", authorize.authorize, authorize.authorize),
        ("/signin", sign_in.page, sign_in.submit),
        ("/signin/passkey", by_passkey.page, by_passkey.submit),
        ("/signin/second-factor", by_two.page, by_two.submit),
        ("/signin/step-up", step_up.page, step_up.submit),
        ("/signin/choose", sign_in.choose_page, sign_in.choose),
        ("/consent", consent.page, consent.submit),
        ("/device", device.page, device.submit),
        ("/device/done", device.done, None),
        ("/connect/endsession", sign_out.begin, sign_out.begin),
        ("/account/signout", sign_out.page, sign_out.submit),
        ("/signedout", sign_out.signed_out, None),
        ("/account", own_access.page, None),
        ("/account/applications/stop", None, own_access.stop),
        ("/account/sessions/end", None, own_access.end_session),
        ("/account/tokens/new", own_tokens.page, own_tokens.make),
        ("/account/tokens/revoke", None, own_tokens.revoke),
        ("/account/password", account.password_page, account.change_password),
        ("/account/second-factor", second_factor.page, None),
        ("/account/second-factor/begin", None, second_factor.begin),
        ("/account/second-factor/add", None, second_factor.add),
        ("/account/second-factor/remove", None, second_factor.remove),
        ("/account/second-factor/recovery-codes", None, second_factor.replace_recovery_codes),
        ("/account/passkeys", passkeys.page, None),
        ("/account/passkeys/begin", None, passkeys.begin),
        ("/account/passkeys/add", None, passkeys.add),
        ("/account/passkeys/remove", None, passkeys.remove),
        ("/account/passkeys/recovery-codes", None, passkeys.replace_recovery_codes),
        ("/install", install.page, install.submit),
        ("/install/done", install.done, None),
        ("/uninstall", install.uninstall_page, install.uninstall),
        ("/static/{name}", static, None),
    ]
    routes = [_route(f"{base}{path}", get, post) for path, get, post in pages]
    for route in routes:
        # A page can be a step of a sign-in, so nobody has one answered only to look at its head.
        route.methods = (route.methods or set()) - {"HEAD"}
    routes.append(Route(f"{base}/connect/userinfo", userinfo))
    routes.append(Route(metadata_path(issuer), resource_metadata))
    return Starlette(
        routes=routes,
        exception_handlers={
            Refusal: on_refusal,
            HTTPException: on_http_exception,
            Exception: on_failure,
        },
    )


def _route(path: str, get: Endpoint | None, post: Endpoint | None) -> Route:
    """One route for both methods, so that a refusal of another method names both (RFC 9110 section 10.2.1)."""
    endpoints = {method: endpoint for method, endpoint in (("GET", get), ("POST", post)) if endpoint is not None}

    async def answer(request: Request) -> Response:
        return await endpoints[request.method](request)

    return Route(path, answer, methods=list(endpoints))


def refused(site: Site, failure: Exception) -> Response:
    """A page that says what is wrong; nothing is redirected."""
    if not isinstance(failure, Refusal):
        raise TypeError("a handler of refusals")
    status = failure.status if isinstance(failure, HttpRefusal) else STATUS[failure.kind]
    headers: dict[str, str] = {}
    detail = ""
    way: tuple[str, str] | None = _to_the_account(site)
    heading, text = "This did not work", _sentence(failure.message)
    match failure:
        case Unavailable():
            way = None
            heading = "Please try again shortly"
            text = "This does not work at this moment. Nothing is lost: try again in a little while."
            headers["Retry-After"] = str(max(1, round(failure.retry_after)))
        case TooManyRequests():
            way = None
            heading = "Please try again shortly"
            headers["Retry-After"] = str(max(1, ceil(failure.retry_after)))
        case NotTrusted():
            way = None
            heading = "This request cannot be trusted"
            text = (
                "You were not sent on to the application, because what it asks for is not in order. "
                "The people who run it can put that right."
            )
            detail = failure.message
        case PageExpired():
            heading = "This page has expired"
        case ForeignForm():
            heading = "This page has expired"
            if failure.again:
                way = "Open it anew", failure.again
        case LinkRefused():
            heading, text, detail, way = failure.heading, failure.message, failure.detail, failure.way or way
        case Refusal(code="invalid_request"):
            text = "What was sent is not what this page takes, so nothing was done."
            detail = failure.message
        case _:
            pass
    return _error_page(site, status, heading, text, detail=detail, code=failure.code, way=way, headers=headers)


def not_here(site: Site, failure: Exception) -> Response:
    """What the router says by itself: no such page, no such method."""
    if not isinstance(failure, HTTPException):
        raise TypeError("a handler of the router's answers")
    status = failure.status_code
    heading, text = "This did not work", "This address cannot be opened in this way."
    if status == 404:
        heading, text = "There is no such page", "If an application led you here, go back to it and begin again."
    return _error_page(site, status, heading, text, way=_to_the_account(site), headers=failure.headers)


def failed(site: Site, request: Request, failure: Exception) -> Response:
    """Something unforeseen; the page tells nothing but the reference for the operator's log."""
    _log.error("http_failed", path=request.scope["path"][:200], course=course_of(failure))
    request.scope["stagedoor.failed"] = True
    text = "Something went wrong on our side. Try again; if it happens once more, tell us the reference below."
    return _error_page(site, 500, "This did not work", text, code="server_error")


def _error_page(  # noqa: PLR0913  (the parts of a page)
    site: Site,
    status: int,
    heading: str,
    text: str,
    *,
    detail: str = "",
    code: str = "",
    way: tuple[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`way`: where to go from here, in words and as a path."""
    fields = {"heading": heading, "text": text, "detail": detail, "code": code, "way": way, "reference": course()}
    return site.pages.render("error.html", fields, status=status, headers=headers)


def _to_the_account(site: Site) -> tuple[str, str]:
    return "Go to your account", site.pages.path("/account")


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}{'' if message.endswith('.') else '.'}"
