"""Signing in, and choosing between the account that is signed in and another one."""

from starlette.requests import Request
from starlette.responses import Response

from services.identity.domain.interaction import Step, acceptable, next_step
from services.identity.pages.authorize import Authorize, signed_in
from services.identity.pages.cookies import YEAR, Cookie
from services.identity.pages.pending import PendingAuthorization
from services.identity.pages.site import Site, course, query
from services.identity.read_model import SessionRow
from services.identity.sessions import AnotherAccount, Opened, PasswordProved, Presented, WrongCredentials
from services.identity.throttle import Throttled
from shared.errors import Refusal, Unavailable
from shared.http.forms import Params
from shared.ids import new_secret

PASSWORD = "password"
TOKEN = "token"
PASSKEYS = "passkeys"
SECOND_FACTOR = "second-factor"
"""`then`: on to the page where the password is changed, where a personal access token is made, or of what signs in."""
INSTALL = "install"
UNINSTALL = "uninstall"
"""`then`, with what it is about: on to the page of a link that was followed."""
_KEY_TO_THE_ACCOUNT = "A token works without your password. Please sign in once more to make one."
_ONCE_MORE = "Please sign in once more to go on."
_AS_ADMINISTRATOR = "What an application may do here is decided by whoever sits here now. Please sign in once more."
_PLACES = {
    PASSWORD: "/account/password",
    TOKEN: "/account/tokens/new",
    PASSKEYS: "/account/passkeys",
    SECOND_FACTOR: "/account/second-factor",
}
_LINKS = {INSTALL: ("/install", "document"), UNINSTALL: ("/uninstall", "client_id")}
"""The pages, and the parameter that says what they are about."""
_WHY = {
    TOKEN: _KEY_TO_THE_ACCOUNT,
    PASSKEYS: _ONCE_MORE,
    SECOND_FACTOR: _ONCE_MORE,
    INSTALL: _AS_ADMINISTRATOR,
    UNINSTALL: _AS_ADMINISTRATOR,
}
"""Why somebody who is signed in has to do it again for these."""
_LONGEST = 2100
"""Characters of `then`."""


class SignIn:
    """The pages."""

    def __init__(self, site: Site, authorize: Authorize) -> None:
        self._site = site
        self._authorize = authorize

    async def page(self, request: Request) -> Response:
        """GET /signin."""
        sealed = query(request, "request")
        pending = self._site.seals.open(sealed) if sealed else None
        then = place(query(request, "then"))
        name, notice = await self._about(request, pending, then)
        if query(request, "again"):
            notice = _ONCE_MORE
        return self._form(request, sealed or "", pending, then, user_name=name, notice=notice)

    async def _about(self, request: Request, pending: PendingAuthorization | None, then: str) -> tuple[str, str]:
        """The name to begin with, and why somebody who is signed in has to do it again."""
        if pending is None:
            word = then.partition(" ")[0]
            session = await self._site.session(request) if word in _WHY else None
            return ("", "") if session is None else (session.user.user_name, _WHY[word])
        hint = pending.proceed.login_hint
        session = await self._site.session(request)
        known = signed_in(session)
        if session is None or known is None or acceptable(pending.demands, known, self._site.clock()):
            return hint, ""
        expected = pending.proceed.expected_sub
        own = session.user.user_name if expected in ("", session.user.sub) else ""
        return hint or own, _ONCE_MORE

    async def submit(self, request: Request) -> Response:
        """POST /signin."""
        site = self._site
        form = await site.forms.read(request)
        sealed = form.get("request") or ""
        pending = site.seals.open(sealed) if sealed else None
        then = place(form.get("then"))
        # Who has signed in meanwhile, with another page of this browser, is led on from there.
        again = site.pages.path("/consent", request=sealed) if sealed else site.pages.path("/signin", then=then)
        site.forms.check(form.get("form"), "signin", site.cookies.read(request, Cookie.FORM), sealed, again=again)
        if form.get("action") == "cancel" and pending is not None:
            return await self._authorize.refuse(pending)
        try:
            return await self._sign_in(request, form, sealed, pending, then)
        except (WrongCredentials, AnotherAccount, Throttled, Unavailable) as refusal:
            return self._again(request, form, refusal, sealed=sealed, pending=pending, then=then)

    async def choose_page(self, request: Request) -> Response:
        """GET /signin/choose."""
        site = self._site
        sealed = query(request, "request") or ""
        pending = site.seals.open(sealed)
        session = await site.session(request, pending.proceed.client_id)
        if session is None or self._step(pending, session) is not Step.CHOOSE_ACCOUNT:
            return await self._authorize.go_on(pending, session)
        fields = {
            "application": pending.proceed.display_name,
            "shown_name": session.user.shown_name,
            "user_name": session.user.user_name,
            "other": site.pages.path("/signin", request=sealed),
            "hidden": {"request": sealed, "form": site.forms.token("choose", site.secret(request), sealed)},
        }
        return site.pages.render("choose.html", fields, form_targets=(pending.proceed.redirect_origin,))

    async def choose(self, request: Request) -> Response:
        """POST /signin/choose: go on as the one who is signed in."""
        site = self._site
        form = await site.forms.read(request)
        sealed = form.get("request") or ""
        pending = site.seals.open(sealed)
        again = site.pages.path("/signin/choose", request=sealed)
        site.forms.check(form.get("form"), "choose", site.secret(request), sealed, again=again)
        session = await site.session(request, pending.proceed.client_id)
        if session is not None:
            pending = pending.choosing(session.sid)
        return await self._authorize.go_on(pending, session)

    def _step(self, pending: PendingAuthorization, session: SessionRow) -> Step:
        return next_step(pending.demands, signed_in(session), self._site.clock())

    async def _sign_in(
        self, request: Request, form: Params, sealed: str, pending: PendingAuthorization | None, then: str
    ) -> Response:
        site = self._site
        presented = Presented(
            form.get("user_name") or "",
            form.get("password") or "",
            site.cookies.read(request, Cookie.SESSION),
            "" if pending is None else pending.proceed.expected_sub,
        )
        found = await site.sessions.sign_in(presented, site.origin(request), course())
        if isinstance(found, Opened):
            return let_in(site, found, sealed, then)
        return self._to_the_second_factor(request, found, sealed, then)

    def _to_the_second_factor(self, request: Request, proved: PasswordProved, sealed: str, then: str) -> Response:
        site = self._site
        response = site.pages.see("/signin/second-factor", request=sealed, then=then)
        browser = site.cookies.read(request, Cookie.FORM) or ""
        site.cookies.set(response, Cookie.PROVED, site.seals.seal_proved(proved, browser))
        return response

    def _again(  # noqa: PLR0913  (what the page before had)
        self,
        request: Request,
        form: Params,
        refusal: Refusal,
        *,
        sealed: str,
        pending: PendingAuthorization | None,
        then: str,
    ) -> Response:
        """The form once more, with what was wrong; the password is never sent back."""
        status, headers = 422, {}
        alert = refusal.message
        if isinstance(refusal, Throttled | Unavailable):
            status = 429 if isinstance(refusal, Throttled) else 503
            headers["Retry-After"] = str(max(1, round(refusal.retry_after)))
        if isinstance(refusal, Unavailable):
            alert = "Signing in does not work at this moment. Please try again shortly."
        return self._form(
            request,
            sealed,
            pending,
            then,
            user_name=(form.get("user_name") or "")[:256],
            alert=alert,
            wrong=status == 422,
            status=status,
            headers=headers,
        )

    def _by_passkey(self, sealed: str, then: str) -> str:
        """Where it goes on without a password; the same for everybody. Empty where browsers know no passkeys."""
        if not self._site.passkeys.offered:
            return ""
        return self._site.pages.path("/signin/passkey", request=sealed, then=then)

    def _form(  # noqa: PLR0913  (the parts of a page)
        self,
        request: Request,
        sealed: str,
        pending: PendingAuthorization | None,
        then: str,
        *,
        user_name: str = "",
        notice: str = "",
        alert: str = "",
        wrong: bool = False,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> Response:
        site = self._site
        known = site.cookies.read(request, Cookie.FORM)
        secret = known or new_secret()
        fields = {
            "application": "" if pending is None else pending.proceed.display_name,
            "device": pending is not None and pending.of_device,
            "alert": alert,
            "wrong": wrong,
            "notice": notice,
            "user_name": user_name,
            "passkey": self._by_passkey(sealed, then),
            "hidden": {"request": sealed, "then": then, "form": site.forms.token("signin", secret, sealed)},
        }
        targets = () if pending is None else (pending.proceed.redirect_origin,)
        response = site.pages.render("signin.html", fields, status=status, form_targets=targets, headers=headers)
        if known is None:
            site.cookies.set(response, Cookie.FORM, secret)
        return response


def let_in(site: Site, opened: Opened, sealed: str, then: str) -> Response:
    """On to where the sign-in was for, with the cookie of the session."""
    # Not on to the application at once: should the issuer be away, the session is there all the same.
    path, about = ("/consent", {"request": sealed}) if sealed else _place(then)
    response = site.pages.see(path, **about)
    site.cookies.set(response, Cookie.SESSION, opened.secret)
    site.cookies.set(response, Cookie.DEVICE, opened.device_cookie, YEAR)
    site.cookies.clear(response, Cookie.FORM)
    return response


def then_about(then: str, about: str) -> str:
    """`then` for the page of a link."""
    return f"{then} {about}"


def place(asked: str | None) -> str:
    """Where to go afterwards: one of our own pages, by its name, never by an address.

    What the page of a link is about comes behind the name, and goes to that page as its parameter.
    """
    word, _, about = (asked or "").partition(" ")
    known = about and len(about) <= _LONGEST if word in _LINKS else asked in _PLACES
    return asked if asked and known else ""


def _place(then: str) -> tuple[str, dict[str, str]]:
    word, _, about = then.partition(" ")
    if word in _LINKS:
        path, parameter = _LINKS[word]
        return path, {parameter: about}
    return _PLACES.get(then, "/account"), {}
