"""The page that asks for a code: after the password, and in a session that is to be worth more.

Until the code is right there is no session, and the page tells nothing of the account. That the password was right
travels in a cookie, sealed, for the browser in which it was typed and for some minutes.
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from services.identity.domain.interaction import Step, next_step
from services.identity.domain.session import SessionOver
from services.identity.pages.authorize import Authorize, signed_in
from services.identity.pages.cookies import Cookie
from services.identity.pages.pending import PageExpired, PendingAuthorization
from services.identity.pages.signin import let_in, place
from services.identity.pages.site import Site, course, query
from services.identity.read_model import SessionRow
from services.identity.second_factor import WrongCode
from services.identity.sessions import AnotherAccount, PasswordProved, SignInOver
from services.identity.throttle import Throttled
from shared.errors import Refusal, Unavailable

RECOVERY = "recovery"
"""`by`: with a recovery code."""


@dataclass(frozen=True, slots=True)
class _Asking:
    """What the page is about."""

    path: str
    form: str
    """The token of the form."""
    sealed: str
    pending: PendingAuthorization | None
    then: str = ""
    by: str = ""

    def shown(self, site: Site, refusal: Refusal | None = None) -> Response:
        """The page, with what was wrong; a code is never sent back."""
        status, headers, alert = 200, {}, ""
        if refusal is not None:
            status, alert = 422, refusal.message
        if isinstance(refusal, Throttled | Unavailable):
            status = 429 if isinstance(refusal, Throttled) else 503
            headers["Retry-After"] = str(max(1, round(refusal.retry_after)))
        if isinstance(refusal, Unavailable):
            alert = "Signing in does not work at this moment. Please try again shortly."
        recovery = self.by == RECOVERY
        other = site.pages.path(self.path, request=self.sealed, then=self.then, by="" if recovery else RECOVERY)
        fields = {
            "application": "" if self.pending is None else self.pending.proceed.display_name,
            "device": self.pending is not None and self.pending.of_device,
            "alert": alert,
            "wrong": status == 422,
            "recovery": recovery,
            "action": site.pages.path(self.path),
            "other": other,
            "anew": site.pages.path("/signin", request=self.sealed, then=self.then),
            "hidden": {"request": self.sealed, "then": self.then, "by": self.by, "form": self.form},
        }
        targets = () if self.pending is None else (self.pending.proceed.redirect_origin,)
        return site.pages.render("code.html", fields, status=status, form_targets=targets, headers=headers)


class SignInByTwo:
    """After the password."""

    PATH = "/signin/second-factor"

    def __init__(self, site: Site, authorize: Authorize) -> None:
        self._site = site
        self._authorize = authorize

    async def page(self, request: Request) -> Response:
        """GET /signin/second-factor."""
        sealed, then = query(request, "request") or "", place(query(request, "then"))
        pending = self._site.seals.open(sealed) if sealed else None
        if self._proved(request) is None:
            return await self._anew(request, sealed, then)
        return self._asking(request, sealed, pending, then, query(request, "by") or "").shown(self._site)

    async def submit(self, request: Request) -> Response:
        """POST /signin/second-factor."""
        site = self._site
        form = await site.forms.read(request)
        sealed, then = form.get("request") or "", place(form.get("then"))
        pending = site.seals.open(sealed) if sealed else None
        proved = self._proved(request)
        if proved is None:
            return await self._anew(request, sealed, then)
        again = site.pages.path(self.PATH, request=sealed, then=then)
        browser = site.cookies.read(request, Cookie.FORM)
        site.forms.check(form.get("form"), "second-factor", browser, self._about(request, sealed), again=again)
        if form.get("action") == "cancel" and pending is not None:
            return self._clear(await self._authorize.refuse(pending))
        try:
            opened = await site.sessions.sign_in_by_two(
                proved,
                form.get("code") or "",
                site.cookies.read(request, Cookie.SESSION),
                site.origin(request),
                course(),
                expected_sub="" if pending is None else pending.proceed.expected_sub,
            )
        except SignInOver:
            return await self._anew(request, sealed, then)
        except (WrongCode, AnotherAccount, Throttled, Unavailable) as refusal:
            return self._asking(request, sealed, pending, then, form.get("by") or "").shown(site, refusal)
        return self._clear(let_in(site, opened, sealed, then))

    def _proved(self, request: Request) -> PasswordProved | None:
        """The password that was right in this browser; None if there was none, or too long ago."""
        cookies = self._site.cookies
        try:
            return self._site.seals.open_proved(
                cookies.read(request, Cookie.PROVED), cookies.read(request, Cookie.FORM) or ""
            )
        except PageExpired:
            return None

    def _about(self, request: Request, sealed: str) -> str:
        """What the form belongs to: this password, and this request of an application."""
        return f"{self._site.cookies.read(request, Cookie.PROVED)} {sealed}"

    def _asking(
        self, request: Request, sealed: str, pending: PendingAuthorization | None, then: str, by: str
    ) -> _Asking:
        site = self._site
        browser = site.cookies.read(request, Cookie.FORM) or ""
        form = site.forms.token("second-factor", browser, self._about(request, sealed))
        return _Asking(self.PATH, form, sealed, pending, then, by if by == RECOVERY else "")

    async def _anew(self, request: Request, sealed: str, then: str) -> Response:
        """To the password; or on, for who has signed in meanwhile with another page of this browser."""
        site = self._site
        if sealed and await site.session(request) is not None:
            return self._clear(site.pages.see("/consent", request=sealed))
        return self._clear(site.pages.see("/signin", request=sealed, then=then, again="1"))

    def _clear(self, response: Response) -> Response:
        self._site.cookies.clear(response, Cookie.PROVED)
        return response


class StepUp:
    """In a session that was begun by the password alone, for a request that wants more (RFC 9470)."""

    PATH = "/signin/step-up"

    def __init__(self, site: Site, authorize: Authorize) -> None:
        self._site = site
        self._authorize = authorize

    async def page(self, request: Request) -> Response:
        """GET /signin/step-up."""
        sealed = query(request, "request") or ""
        pending = self._site.seals.open(sealed)
        session = await self._session(request, pending)
        if session is None:
            return await self._go_on(request, pending)
        return self._asking(request, sealed, pending, query(request, "by") or "").shown(self._site)

    async def submit(self, request: Request) -> Response:
        """POST /signin/step-up: everything is looked at again, because time has passed."""
        site = self._site
        form = await site.forms.read(request)
        sealed = form.get("request") or ""
        pending = site.seals.open(sealed)
        again = site.pages.path(self.PATH, request=sealed)
        site.forms.check(form.get("form"), "step-up", site.secret(request), sealed, again=again)
        if form.get("action") == "cancel":
            return await self._authorize.refuse(pending)
        session = await self._session(request, pending)
        if session is None:
            return await self._go_on(request, pending)
        try:
            secret = await site.sessions.step_up(session, form.get("code") or "", site.origin(request), course())
        except SessionOver:
            return site.pages.see("/signin", request=sealed, again="1")
        except (WrongCode, Throttled, Unavailable) as refusal:
            return self._asking(request, sealed, pending, form.get("by") or "").shown(site, refusal)
        response = site.pages.see("/consent", request=sealed)
        site.cookies.set(response, Cookie.SESSION, secret)
        return response

    async def _session(self, request: Request, pending: PendingAuthorization) -> SessionRow | None:
        """The session that is to be worth more; None if that is not what is missing."""
        session = await self._site.session(request, pending.proceed.client_id)
        step = next_step(pending.demands, signed_in(session), self._site.clock())
        return session if step is Step.SECOND_FACTOR else None

    async def _go_on(self, request: Request, pending: PendingAuthorization) -> Response:
        return await self._authorize.go_on(pending, await self._site.session(request, pending.proceed.client_id))

    def _asking(self, request: Request, sealed: str, pending: PendingAuthorization, by: str) -> _Asking:
        form = self._site.forms.token("step-up", self._site.secret(request), sealed)
        return _Asking(self.PATH, form, sealed, pending, by=by if by == RECOVERY else "")
