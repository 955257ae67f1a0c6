"""The person's password."""

from starlette.requests import Request
from starlette.responses import Response

from services.identity.pages.site import Site
from services.identity.read_model import SessionRow
from services.identity.sessions import WrongCredentials
from services.identity.throttle import Throttled
from shared.errors import Kind, Refusal


class Account:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def password_page(self, request: Request) -> Response:
        """GET /account/password."""
        session = await self._site.session(request)
        if session is None:
            return self._site.pages.see("/signin", then="password")
        return self._password_form(request, session)

    async def change_password(self, request: Request) -> Response:
        """POST /account/password."""
        site = self._site
        form = await site.forms.read(request)
        site.forms.check(form.get("form"), "password", site.secret(request), again=site.pages.path("/account/password"))
        session = await site.session(request)
        if session is None:
            return site.pages.see("/signin", then="password")
        wanted = form.get("new_password") or ""
        if wanted != (form.get("new_password_again") or ""):
            return self._password_form(request, session, wrong="again", alert="The new password is not the same twice.")
        try:
            await site.accounts.change_password(
                session,
                form.get("current_password") or "",
                wanted,
                site.origin(request),
                site.context(session.user.sub),
            )
        except WrongCredentials:
            return self._password_form(
                request, session, wrong="current", alert="The password you have now is not right."
            )
        except Throttled as refusal:
            return self._password_form(
                request, session, alert=refusal.message, status=429, retry_after=refusal.retry_after
            )
        except Refusal as refusal:
            if refusal.kind is not Kind.INVALID:
                raise
            return self._password_form(request, session, wrong="new", alert=_sentence(refusal.message))
        return site.pages.see("/account", done="password")

    def _password_form(  # noqa: PLR0913  (the parts of a page)
        self,
        request: Request,
        session: SessionRow,
        *,
        wrong: str = "",
        alert: str = "",
        status: int | None = None,
        retry_after: float = 0,
    ) -> Response:
        site = self._site
        fields = {
            "user_name": session.user.user_name,
            "alert": alert,
            "wrong": wrong,
            "hidden": {"form": site.forms.token("password", site.secret(request))},
        }
        headers = {"Retry-After": str(round(retry_after))} if retry_after else {}
        return site.pages.render("password.html", fields, status=status or (422 if alert else 200), headers=headers)


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}."
