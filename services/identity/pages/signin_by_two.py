"""Where a second factor is asked for: after the password, and in a session that is to be worth more.

Until it is right there is no session, and the page tells nothing of the account but what can be proved. That the
password was right travels in a cookie, sealed, for the browser in which it was typed and for some minutes.
"""

from starlette.requests import Request
from starlette.responses import Response

from services.identity.domain.interaction import Step, next_step
from services.identity.domain.session import SessionOver
from services.identity.pages.asking import PASSKEY, Asking, answered
from services.identity.pages.authorize import Authorize, signed_in
from services.identity.pages.cookies import Cookie
from services.identity.pages.pending import PageExpired, PendingAuthorization
from services.identity.pages.signin import let_in, place
from services.identity.pages.site import Site, course, query
from services.identity.passkeys import Answered, Purpose, WrongPasskey
from services.identity.read_model import SessionRow
from services.identity.second_factor import WrongCode
from services.identity.sessions import AnotherAccount, PasswordProved, SignInOver
from services.identity.throttle import Throttled
from shared.errors import Unavailable
from shared.http.forms import Params


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
        proved = self._proved(request)
        if proved is None:
            return await self._anew(request, sealed, then)
        asking = await self._asking(request, proved, sealed, pending, then)
        return await (self._anew(request, sealed, then) if asking is None else asking.shown(query(request, "by")))

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
                _presented(site, form, Purpose.SECOND_FACTOR, browser, proved.sub),
                site.cookies.read(request, Cookie.SESSION),
                site.origin(request),
                course(),
                expected_sub="" if pending is None else pending.proceed.expected_sub,
            )
        except SignInOver:
            return await self._anew(request, sealed, then)
        except (WrongCode, WrongPasskey, AnotherAccount, Throttled, Unavailable) as refusal:
            asking = await self._asking(request, proved, sealed, pending, then)
            shown = self._anew(request, sealed, then) if asking is None else asking.shown(form.get("by"), refusal)
            return await shown
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

    async def _asking(
        self, request: Request, proved: PasswordProved, sealed: str, pending: PendingAuthorization | None, then: str
    ) -> Asking | None:
        """None if there is no such user any more."""
        user = await self._site.sessions.user(proved.sub)
        if user is None:
            return None
        return Asking(
            self._site,
            self.PATH,
            Purpose.SECOND_FACTOR,
            form="second-factor",
            browser=self._site.cookies.read(request, Cookie.FORM) or "",
            about=self._about(request, sealed),
            user=user,
            whose=proved.sub,
            sealed=sealed,
            pending=pending,
            then=then,
        )

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
        return await self._asking(request, session, sealed, pending).shown(query(request, "by"))

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
            presented = _presented(site, form, Purpose.STEP_UP, site.secret(request), session.sid)
            secret = await site.sessions.step_up(session, presented, site.origin(request), course())
        except SessionOver:
            return site.pages.see("/signin", request=sealed, again="1")
        except (WrongCode, WrongPasskey, Throttled, Unavailable) as refusal:
            return await self._asking(request, session, sealed, pending).shown(form.get("by"), refusal)
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

    def _asking(self, request: Request, session: SessionRow, sealed: str, pending: PendingAuthorization) -> Asking:
        return Asking(
            self._site,
            self.PATH,
            Purpose.STEP_UP,
            form="step-up",
            browser=self._site.secret(request),
            about=sealed,
            user=session.user,
            whose=session.sid,
            sealed=sealed,
            pending=pending,
        )


def _presented(site: Site, form: Params, purpose: Purpose, browser: str | None, whose: str) -> str | Answered:
    """What the form shows: a code, or what a passkey answered. Raises `WrongPasskey` for an answer to nothing."""
    if form.get("by") != PASSKEY:
        return form.get("code") or ""
    return answered(site, form, purpose, browser, whose)
