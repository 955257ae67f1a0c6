"""Letting a device in that has no browser of its own (RFC 8628): the person types the code that it shows.

    /device            the code is typed, or stands there already from the link that the device showed
    /signin, /consent  as ever; the consent page is never left out here, and shows the code once more to compare
    /device/done       back to the device

Looking at an address does nothing: a code is looked for when the person sends the form. That is throttled, and one that
was never given out, is too old or was used gets the same answer (section 5.1).
"""

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.tokens.v1.tokens_pb2 import Proceed
from services.identity.domain.interaction import Step
from services.identity.pages.cookies import Cookie
from services.identity.pages.pending import PendingAuthorization
from services.identity.pages.site import Site, query
from services.identity.read_model import SessionRow
from services.identity.throttle import Throttled
from shared.errors import Kind, Refusal
from shared.ids import new_secret

UNKNOWN = "user_code_unknown"
"""The issuer's word for a code that nothing waits under."""
LONGEST_SHOWN = 16
"""Characters of a code that a page repeats; a code with its hyphen has nine."""


class Device:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def page(self, request: Request) -> Response:
        """GET /device."""
        return self.form(request, query(request, "user_code") or "")

    async def submit(self, request: Request) -> Response:
        """POST /device."""
        site = self._site
        form = await site.forms.read(request)
        typed = form.get("user_code") or ""
        again = site.pages.path("/device")
        site.forms.check(form.get("form"), "device", site.cookies.read(request, Cookie.FORM), again=again)
        session = await site.session(request)
        # Read before the request is looked at: a sign-in past this position was made for this request.
        position = await site.head()
        sub = "" if session is None else session.user.sub
        try:
            attempt = await site.throttle.admit_user_code(sub, site.origin(request).address)
            proceed = await site.issuer.begin_device(typed)
        except Throttled as refusal:
            return self.form(request, typed, alert=refusal.message, status=429, retry_after=refusal.retry_after)
        except Refusal as refusal:
            if refusal.code != UNKNOWN:
                raise
            return self.form(request, typed, alert=refusal.message, status=422)
        await site.throttle.succeeded(attempt)
        return site.pages.see("/consent", request=site.seals.seal(PendingAuthorization(proceed, position)))

    async def done(self, request: Request) -> Response:
        """GET /device/done."""
        outcome = query(request, "outcome")
        if outcome not in ("allowed", "refused"):
            return self._site.pages.see("/device")
        return self._site.pages.render("device_done.html", {"allowed": outcome == "allowed"})

    async def allow(self, request: Request, proceed: Proceed, session: SessionRow, position: int) -> Response:
        """The person agreed."""
        try:
            await self._site.issuer.allow_device(proceed, session, position)
        except Refusal as refusal:
            return self._failed(request, refusal)
        return self._site.pages.see("/device/done", outcome="allowed")

    async def refuse(self, request: Request, proceed: Proceed, session: SessionRow) -> Response:
        """The person said no."""
        try:
            await self._site.issuer.refuse_device(proceed, session)
        except Refusal as refusal:
            return self._failed(request, refusal)
        return self._site.pages.see("/device/done", outcome="refused")

    def _failed(self, request: Request, refusal: Refusal) -> Response:
        """There is no application to go back to, so the person is told here."""
        if refusal.code == UNKNOWN:
            return self.form(request, "", alert=refusal.message, status=422)
        if refusal.code == Step.LOGIN_REQUIRED.value:
            raise Refusal(Kind.FORBIDDEN, refusal.code, "You have to sign in again. Then type the code once more.")
        raise refusal

    def form(
        self, request: Request, typed: str, *, alert: str = "", status: int = 200, retry_after: float = 0
    ) -> Response:
        """The page for the code."""
        site = self._site
        known = site.cookies.read(request, Cookie.FORM)
        secret = known or new_secret()
        fields = {
            "alert": alert,
            "wrong": status == 422,
            "user_code": typed[:LONGEST_SHOWN],
            "hidden": {"form": site.forms.token("device", secret)},
        }
        headers = {"Retry-After": str(max(1, round(retry_after)))} if retry_after else {}
        response = site.pages.render("device.html", fields, status=status, headers=headers)
        if known is None:
            site.cookies.set(response, Cookie.FORM, secret)
        return response
