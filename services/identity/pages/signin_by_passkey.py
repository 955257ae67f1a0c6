"""Signing in by a passkey, without a password. Nobody is named before it: the page is the same for everybody."""

from starlette.requests import Request
from starlette.responses import Response

from services.identity.pages.asking import AWAY, answered, told
from services.identity.pages.authorize import Authorize
from services.identity.pages.cookies import Cookie
from services.identity.pages.pending import PendingAuthorization
from services.identity.pages.signin import let_in, place
from services.identity.pages.site import Site, course, query
from services.identity.passkeys import Purpose, WrongPasskey
from services.identity.sessions import AnotherAccount
from services.identity.throttle import Throttled
from shared.errors import Refusal, Unavailable
from shared.ids import new_secret


class SignInByPasskey:
    """The page. Where browsers know no passkeys it raises `NoPasskeysHere`."""

    PATH = "/signin/passkey"

    def __init__(self, site: Site, authorize: Authorize) -> None:
        self._site = site
        self._authorize = authorize

    async def page(self, request: Request) -> Response:
        """GET /signin/passkey."""
        sealed, then = query(request, "request") or "", place(query(request, "then"))
        pending = self._site.seals.open(sealed) if sealed else None
        return await self._asking(request, sealed, pending, then)

    async def submit(self, request: Request) -> Response:
        """POST /signin/passkey."""
        site = self._site
        form = await site.forms.read(request)
        sealed, then = form.get("request") or "", place(form.get("then"))
        pending = site.seals.open(sealed) if sealed else None
        browser = site.cookies.read(request, Cookie.FORM)
        # Who has signed in meanwhile, with another page of this browser, is led on from there.
        again = site.pages.path("/consent", request=sealed) if sealed else site.pages.path(self.PATH, then=then)
        site.forms.check(form.get("form"), "passkey", browser, sealed, again=again)
        if form.get("action") == "cancel" and pending is not None:
            return await self._authorize.refuse(pending)
        try:
            opened = await site.sessions.sign_in_by_passkey(
                answered(site, form, Purpose.SIGN_IN, browser),
                site.cookies.read(request, Cookie.SESSION),
                site.origin(request),
                course(),
                expected_sub="" if pending is None else pending.proceed.expected_sub,
            )
        except (WrongPasskey, AnotherAccount, Throttled, Unavailable) as refusal:
            return await self._asking(request, sealed, pending, then, refusal)
        return let_in(site, opened, sealed, then)

    async def _asking(
        self,
        request: Request,
        sealed: str,
        pending: PendingAuthorization | None,
        then: str,
        refusal: Refusal | None = None,
    ) -> Response:
        site = self._site
        known = site.cookies.read(request, Cookie.FORM)
        browser = known or new_secret()
        ceremony = site.passkeys.begin(Purpose.SIGN_IN)
        fields = {
            "heading": "Sign in with a passkey",
            "called": "",
            "lead": "Your browser asks you for it. No name and no password are needed.",
            "application": "" if pending is None else pending.proceed.display_name,
            "device": pending is not None and pending.of_device,
            "alert": AWAY if isinstance(refusal, Unavailable) else "" if refusal is None else refusal.message,
            "action": site.pages.path(self.PATH),
            "ceremony": "get",
            "options": await site.passkeys.to_get(ceremony),
            "button": "Go on",
            "others": [(site.pages.path("/signin", request=sealed, then=then), "Use your password")],
            "hidden": {
                "request": sealed,
                "then": then,
                "begun": site.seals.seal_ceremony(ceremony, browser),
                "form": site.forms.token("passkey", browser, sealed),
            },
        }
        status, headers = told(refusal)
        targets = () if pending is None else (pending.proceed.redirect_origin,)
        response = site.pages.render(
            "passkey.html", fields, status=status, form_targets=targets, headers=headers, script="passkey.js"
        )
        if known is None:
            site.cookies.set(response, Cookie.FORM, browser)
        return response
