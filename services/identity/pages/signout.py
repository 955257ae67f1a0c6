"""Signing out (OpenID Connect RP-Initiated Logout 1.0)."""

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.tokens.v1.tokens_pb2 import Logout
from services.identity.events import SessionEndReason
from services.identity.issuer import NotTrusted
from services.identity.pages.cookies import Cookie
from services.identity.pages.site import Site, query
from services.identity.read_model import SessionRow
from shared.http.client_address import Sent
from shared.http.forms import read_form, read_query
from shared.pages.rendering import origin_of, see_other


class SignOut:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def begin(self, request: Request) -> Response:
        """GET and POST /connect/endsession."""
        site = self._site
        posted = request.method == "POST"
        parameters = await read_form(request) if posted else read_query(request)
        site.attempts.check(Sent.by(request.scope))
        try:
            logout = await site.issuer.begin_logout(parameters)
        except NotTrusted:
            site.attempts.failed(Sent.by(request.scope))
            raise
        if posted:
            # Browsers send no cookies of ours with a form of another site, so the way on is by GET.
            return site.pages.see("/account/signout", request=site.seals.seal_logout(logout))
        return await self._go_on(request, logout, site.seals.seal_logout(logout))

    async def page(self, request: Request) -> Response:
        """GET /account/signout."""
        sealed = query(request, "request") or ""
        return await self._go_on(request, self._site.seals.open_logout(sealed), sealed)

    async def submit(self, request: Request) -> Response:
        """POST /account/signout: the person has been asked."""
        site = self._site
        form = await site.forms.read(request)
        sealed = form.get("request") or ""
        logout = site.seals.open_logout(sealed)
        again = site.pages.path("/account/signout", request=sealed)
        site.forms.check(form.get("form"), "signout", site.secret(request), sealed, again=again)
        if form.get("action") == "stay":
            return site.pages.see("/account")
        session = await site.session(request)
        if session is not None:
            await self._end(session)
        return self._afterwards(logout)

    async def signed_out(self, request: Request) -> Response:
        """GET /signedout; who is signed in, in this browser, is not told otherwise, whoever made the link."""
        if await self._site.session(request) is not None:
            return self._site.pages.see("/account")
        return self._site.pages.render("signedout.html", {})

    async def _go_on(self, request: Request, logout: Logout, sealed: str) -> Response:
        """End the session if the application has shown that it is this one it means; else ask the person."""
        site = self._site
        session = await site.session(request)
        if session is None:
            return self._afterwards(logout)
        if _means(logout, session):
            await self._end(session)
            return self._afterwards(logout)
        fields = {
            "application": logout.display_name,
            "shown_name": session.user.shown_name,
            "user_name": session.user.user_name,
            "hidden": {"request": sealed, "form": site.forms.token("signout", site.secret(request), sealed)},
        }
        targets = (origin_of(logout.redirect),) if logout.redirect else ()
        return site.pages.render("signout.html", fields, form_targets=targets)

    async def _end(self, session: SessionRow) -> None:
        await self._site.sessions.end(session.sid, SessionEndReason.SIGNED_OUT, self._site.context(session.user.sub))

    def _afterwards(self, logout: Logout) -> Response:
        """To the address that the issuer has held against the application's, or to our own last page."""
        response = see_other(logout.redirect) if logout.redirect else self._site.pages.see("/signedout")
        self._site.cookies.clear(response, Cookie.SESSION)
        return response


def _means(logout: Logout, session: SessionRow) -> bool:
    """Whether the ID token in the request was issued in this very session, or (an older one) to its user."""
    if logout.sid:
        return logout.sid == session.sid
    return bool(logout.sub) and logout.sub == session.user.sub
