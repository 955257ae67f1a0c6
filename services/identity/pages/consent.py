"""Asking the person, in plain words, what an application may do."""

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.tokens.v1.tokens_pb2 import Proceed, RequestedScope
from services.identity.domain.interaction import Step, next_step
from services.identity.pages.authorize import Authorize, signed_in
from services.identity.pages.device import Device
from services.identity.pages.site import Site, query
from services.identity.read_model import SessionRow
from shared.http.errors import invalid_request

_IN_WORDS = {
    "openid": "know who you are: that it is you again, each time you come back",
    "profile": "see your name, and the language and time zone you have set",
    "email": "see your e-mail address",
    "address": "see your postal address",
    "phone": "see your telephone number",
    "offline_access": "go on doing this while you are away",
}
"""Completes "The application will be able to", for the protocol's own scopes, should the issuer say nothing of them."""


class Consent:
    """The page."""

    def __init__(self, site: Site, authorize: Authorize, device: Device) -> None:
        self._site = site
        self._authorize = authorize
        self._device = device

    async def page(self, request: Request) -> Response:
        """GET /consent."""
        site = self._site
        sealed = query(request, "request") or ""
        pending = site.seals.open(sealed)
        session = await site.session(request, pending.proceed.client_id)
        step = next_step(pending.demands, signed_in(session), site.clock())
        if session is None or step is not Step.CONSENT:
            return await self._authorize.go_on(pending, session)
        return site.pages.render(
            "consent.html",
            {
                **_about(pending.proceed),
                "shown_name": session.user.shown_name,
                "user_name": session.user.user_name,
                "other": site.pages.path("/signin", request=sealed),
                "hidden": {"request": sealed, "form": site.forms.token("consent", site.secret(request), sealed)},
            },
            form_targets=(pending.proceed.redirect_origin,),
        )

    async def submit(self, request: Request) -> Response:
        """POST /consent: everything is looked at again, because time has passed."""
        site = self._site
        form = await site.forms.read(request)
        sealed = form.get("request") or ""
        pending = site.seals.open(sealed)
        again = site.pages.path("/consent", request=sealed)
        site.forms.check(form.get("form"), "consent", site.secret(request), sealed, again=again)
        decision = form.get("decision")
        if decision == "deny" and not pending.of_device:
            return await self._authorize.refuse(pending)
        if decision not in ("allow", "deny"):
            raise invalid_request("the answer is to allow or to deny")
        session = await site.session(request, pending.proceed.client_id)
        step = next_step(pending.demands, signed_in(session), site.clock())
        if session is None or step not in (Step.CONSENT, Step.ISSUE):
            return await self._authorize.go_on(pending, session)
        if decision == "deny":
            return await self._device.refuse(request, pending.proceed, session)
        position = await self._remember(session, pending.proceed)
        if pending.of_device:
            return await self._device.allow(request, pending.proceed, session, position)
        return self._authorize.answer(await site.issuer.issue_code(pending.proceed, session, position))

    async def _remember(self, session: SessionRow, proceed: Proceed) -> int:
        scopes = tuple(scope.name for scope in proceed.scopes)
        context = self._site.context(session.user.sub)
        return await self._site.consents.give(session, proceed.client_id, scopes, context)


def in_words(scope: RequestedScope) -> str:
    """What a scope lets an application do."""
    return scope.description or _IN_WORDS.get(scope.name, f"use “{scope.name}”")


def shown_logo(address: str) -> str:
    """The address of a logo, if a page may show it; else nothing."""
    return address if address.startswith(("https://", "http://127.0.0.1:", "http://localhost:")) else ""


def _about(proceed: Proceed) -> dict[str, object]:
    return {
        "application": proceed.display_name,
        "logo": shown_logo(proceed.logo_uri),
        "contact": proceed.contact,
        "user_code": proceed.user_code,
        "abilities": [in_words(scope) for scope in proceed.scopes],
    }
