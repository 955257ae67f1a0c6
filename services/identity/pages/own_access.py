"""The page on which a person sees what acts for them and where they are signed in, and stops any of it."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.identity.devices import described
from services.identity.events import SessionEndReason
from services.identity.management_tokens import CLIENT
from services.identity.pages.consent import in_words, shown_logo
from services.identity.pages.cookies import Cookie
from services.identity.pages.moments import Moments
from services.identity.pages.site import Site, query
from services.identity.read_model import SessionRow
from shared.errors import Kind, Refusal, Unavailable

STOP = "stop-application"
END = "end-session"
REVOKE = "revoke-token"
"""What the forms are for, which their tokens are bound to."""

_DONE = {
    "second-factor-off": "The second factor is off. Wherever else you were signed in, you are not any more.",
    "second-factor-on": "The second factor is on. Wherever else you were signed in, you are not any more.",
    "password": "Your password is changed. Wherever else you were signed in, you are not any more.",
    "stopped": "The application is stopped. Nothing that it was given is accepted any more.",
    "ended": "That session is over, and so is the access that applications were given in it.",
    "revoked": "The token is revoked. It is not accepted any more.",
    "not-installed": "Nothing was installed.",
    "not-uninstalled": "Nothing was uninstalled.",
    "uninstalled": "The application is uninstalled. Nothing that it was given is accepted any more, anywhere.",
}
"""By the word in the address: nothing that a link says is shown."""


class OwnAccessPage:
    """The page, and its forms but for those about tokens."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def page(self, request: Request) -> Response:
        """GET /account."""
        site = self._site
        session = await site.session(request)
        if session is None:
            return site.pages.see("/signin")
        consents = await site.consents.of(session.user.sub)
        alert = ""
        try:
            found = await site.own_access.overview(session, consents, await site.head())
        except Refusal as refusal:
            if refusal.code == "session_over":
                return site.pages.see("/signin")
            if not isinstance(refusal, Unavailable) and refusal.kind is not Kind.FORBIDDEN:
                raise
            # Stopping is a fact of this service's own, so it works all the same.
            found = _by_themselves(consents)
            alert = "Not everything can be shown at this moment. What you stop here is stopped all the same."
        moments = Moments.of(session.user)
        fields = {
            "shown_name": session.user.shown_name,
            "user_name": session.user.user_name,
            "notice": _DONE.get(query(request, "done") or "", ""),
            "alert": alert,
            "zone": moments.name,
            "second_factor": session.user.has_second_factor,
            "passkeys": site.passkeys.offered or session.user.has_passkeys,
            # A page of this site, that acted for the person when they asked it to: no application of anybody's.
            "applications": [self._application(request, one) for one in found.applications if one.client_id != CLIENT],
            "sessions": await self._sessions(request, session, moments),
            "tokens": [self._token(request, one, moments) for one in found.references],
            "offering": bool(found.offers),
            "known": not alert,
        }
        return site.pages.render("account.html", fields)

    async def stop(self, request: Request) -> Response:
        """POST /account/applications/stop."""
        site = self._site
        form = await site.forms.read(request)
        client_id = form.require("client_id")
        site.forms.check(form.get("form"), STOP, site.secret(request), client_id, again=site.pages.path("/account"))
        session = await site.session(request)
        if session is None:
            return site.pages.see("/signin")
        await site.consents.withdraw(session.user.sub, client_id, site.context(session.user.sub))
        return site.pages.see("/account", done="stopped")

    async def end_session(self, request: Request) -> Response:
        """POST /account/sessions/end."""
        site = self._site
        form = await site.forms.read(request)
        sid = form.require("sid")
        site.forms.check(form.get("form"), END, site.secret(request), sid, again=site.pages.path("/account"))
        session = await site.session(request)
        if session is None:
            return site.pages.see("/signin")
        if sid in {one.sid for one in await site.sessions.of(session.user.sub)}:
            await site.sessions.end(sid, SessionEndReason.ENDED_BY_USER, site.context(session.user.sub))
        if sid != session.sid:
            return site.pages.see("/account", done="ended")
        response = site.pages.see("/signedout")
        site.cookies.clear(response, Cookie.SESSION)
        return response

    def _application(self, request: Request, one: pb.ConnectedApplication) -> dict[str, object]:
        site = self._site
        return {
            "name": one.display_name,
            "client_id": one.client_id,
            "logo": shown_logo(one.logo_uri),
            "contact": one.contact,
            "abilities": [in_words(scope) for scope in one.scopes],
            "enabled": one.enabled,
            "hidden": {
                "client_id": one.client_id,
                "form": site.forms.token(STOP, site.secret(request), one.client_id),
            },
        }

    async def _sessions(self, request: Request, current: SessionRow, moments: Moments) -> list[dict[str, object]]:
        site = self._site
        found = await site.sessions.of(current.user.sub)
        return [
            {
                "device": described(one.user_agent),
                "started": moments.minute(one.auth_time),
                "seen": moments.minute(one.seen_at),
                "this": one.sid == current.sid,
                "hidden": {"sid": one.sid, "form": site.forms.token(END, site.secret(request), one.sid)},
            }
            for one in sorted(found, key=lambda one: one.sid != current.sid)
        ]

    def _token(self, request: Request, one: pb.OwnReference, moments: Moments) -> dict[str, object]:
        site, known = self._site, one.reference
        used = known.last_used_at if known.HasField("last_used_at") else None
        return {
            "label": known.label or "A token without a name",
            "application": one.display_name or known.client_id,
            "scopes": list(known.scopes),
            "expires": moments.day(moments.read(known.expires_at)),
            "used": None if used is None else moments.minute(moments.read(used)),
            "suspended": known.state == "suspended",
            "hidden": {"jti": known.jti, "form": site.forms.token(REVOKE, site.secret(request), known.jti)},
        }


def _by_themselves(consents: Mapping[str, Sequence[str]]) -> pb.OverviewResponse:
    """What this service knows without the issuer: to whom the person consented, but not what these are called."""
    return pb.OverviewResponse(
        applications=[
            pb.ConnectedApplication(
                client_id=client_id,
                display_name=client_id,
                scopes=[pb.RequestedScope(name=scope) for scope in scopes],
                enabled=True,
            )
            for client_id, scopes in consents.items()
        ]
    )
