"""The authorization endpoint (RFC 6749 section 3.1), and the way on from each page.

`go_on` looks at what is true now and leads to the page that is missing, or to the code. Every page ends by calling
it, so there is one place that decides, and going straight to a later page gains nothing.
"""

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.tokens.v1.tokens_pb2 import Proceed
from services.identity.domain.interaction import SignedIn, Step, next_step
from services.identity.domain.session import proved_by_two
from services.identity.issuer import Answer, NotTrusted, Redirect
from services.identity.pages.pending import PendingAuthorization
from services.identity.pages.site import Site
from services.identity.read_model import SessionRow
from shared.http.client_address import Sent
from shared.http.forms import read_form, read_query
from shared.pages.rendering import origin_of, see_other


class Authorize:
    """From the application's request to the first page, and from page to page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def authorize(self, request: Request) -> Response:
        """GET and POST /connect/authorize: the rules are the issuer's; here begins what the person sees."""
        site = self._site
        posted = request.method == "POST"
        parameters = await read_form(request) if posted else read_query(request)
        named = ("authorize", next((value for name, value in parameters if name == "client_id"), ""))
        site.attempts.check(Sent.by(request.scope), named)
        # Read before the request is looked at: a sign-in past this position was made for this request.
        position = await site.head()
        try:
            outcome = await site.issuer.begin(parameters)
        except NotTrusted:
            site.attempts.failed(Sent.by(request.scope), named)
            raise
        if not isinstance(outcome, Proceed):
            return self.answer(outcome)
        pending = PendingAuthorization(outcome, position)
        if posted:
            # Browsers send no cookies of ours with a form of another site, so the way on is by GET.
            return site.pages.see("/consent", request=site.seals.seal(pending))
        return await self.go_on(pending, await site.session(request, outcome.client_id))

    async def go_on(self, pending: PendingAuthorization, session: SessionRow | None) -> Response:
        """To the page that is missing, or with a code to the application."""
        site = self._site
        step = next_step(pending.demands, signed_in(session), site.clock())
        if step is Step.ISSUE and session is not None:
            return self.answer(await site.issuer.issue_code(pending.proceed, session, 0))
        if step in (Step.LOGIN_REQUIRED, Step.CONSENT_REQUIRED, Step.UNMET):
            return self.answer(await site.issuer.refuse(pending.proceed, step.value))
        pages = {
            Step.CHOOSE_ACCOUNT: "/signin/choose",
            Step.SECOND_FACTOR: "/signin/step-up",
            Step.CONSENT: "/consent",
        }
        return site.pages.see(pages.get(step, "/signin"), request=site.seals.seal(pending))

    async def refuse(self, pending: PendingAuthorization) -> Response:
        """Back to the application with nothing: the person said no. A device hears of nothing but an answer."""
        if pending.of_device:
            return self._site.pages.see("/device")
        return self.answer(await self._site.issuer.refuse(pending.proceed, "access_denied"))

    def answer(self, answer: Answer) -> Response:
        """Back to the application, with what the issuer has to tell it."""
        if isinstance(answer, Redirect):
            return see_other(answer.to)
        fields = {"action": answer.action, "hidden": {field.name: field.value for field in answer.fields}}
        return self._site.pages.render_posting("form_post.html", fields, origin_of(answer.action))


def signed_in(session: SessionRow | None) -> SignedIn | None:
    """What the rules need to know of a session."""
    if session is None:
        return None
    return SignedIn(
        session.user.sub,
        session.sid,
        session.auth_time,
        session.auth_position,
        session.consented,
        has_second_factor=session.user.has_second_factor,
        proved_by_two=proved_by_two(session.amr),
    )
