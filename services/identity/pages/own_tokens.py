"""Personal access tokens: made on a page that shows the new one once, and taken back.

A new token stands in the answer to the form and nowhere else: not in an address, a cookie or a redirect. That answer
is never stored, and a form that is sent again makes no second token.

A token outlives the session, so who makes one has proved just now that it is them: nobody gets one from a screen that
was left unlocked.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.identity.domain.session import FILLING_IN, proved_recently
from services.identity.own_access import NewToken
from services.identity.pages.consent import in_words
from services.identity.pages.moments import Moments
from services.identity.pages.own_access import REVOKE
from services.identity.pages.signin import TOKEN
from services.identity.pages.site import Site, query
from services.identity.read_model import SessionRow
from shared.errors import Kind, Refusal
from shared.http.errors import STATUS, invalid_request
from shared.http.forms import Params

MAKE = "make-token"
DAYS = (7, 30, 90, 180, 365)
"""How long a token may live, as the form offers it."""
USUAL_DAYS = 30

_SCOPE = "scope:"
_IN_WORDS = {
    "invalid_label": "Give the token a name of 1 to 60 characters that can be seen.",
    "invalid_scope": "Choose at least one thing that the token may do.",
    "reference_exists": "This form was sent before, and a token is shown only once. If you did not copy it, revoke it "
    "on your account's page and make another one here.",
}


@dataclass(frozen=True, slots=True)
class _Filled:
    """What stands in the form."""

    label: str = ""
    scopes: tuple[str, ...] = ()
    days: int = USUAL_DAYS


class OwnTokens:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def page(self, request: Request) -> Response:
        """GET /account/tokens/new."""
        session = await self._site.session(request)
        if session is None or not proved_recently(session.auth_time, self._site.clock(), FILLING_IN):
            return self._site.pages.see("/signin", then=TOKEN)
        offers = await self._offers(session)
        chosen = query(request, "application")
        if chosen is None and len(offers) == 1:
            chosen = next(iter(offers))
        if chosen not in offers:
            return self._choose(offers)
        return self._form(request, offers[chosen], _Filled())

    async def make(self, request: Request) -> Response:
        """POST /account/tokens/new."""
        site = self._site
        form = await site.forms.read(request)
        client_id, once = form.require("application"), _once(form)
        again = site.pages.path("/account/tokens/new", application=client_id)
        site.forms.check(form.get("form"), MAKE, site.secret(request), f"{client_id} {once}", again=again)
        session = await site.session(request)
        if session is None or not proved_recently(session.auth_time, site.clock()):
            return site.pages.see("/signin", then=TOKEN)
        filled = _filled(form)
        try:
            made = await self._made(session, client_id, once, filled)
        except Refusal as refusal:
            if refusal.code not in _IN_WORDS:
                raise
            offer = (await self._offers(session)).get(client_id)
            if offer is None:
                raise
            return self._form(request, offer, filled, refusal)
        moments = Moments.of(session.user)
        fields = {
            "token": made.token,
            "label": filled.label,
            "scopes": list(made.scopes),
            "expires": moments.day(moments.read(made.expires_at)),
        }
        return site.pages.render("token_made.html", fields)

    async def revoke(self, request: Request) -> Response:
        """POST /account/tokens/revoke."""
        site = self._site
        form = await site.forms.read(request)
        jti = form.require("jti")
        site.forms.check(form.get("form"), REVOKE, site.secret(request), jti, again=site.pages.path("/account"))
        session = await site.session(request)
        if session is None:
            return site.pages.see("/signin")
        await site.own_access.revoke(session, jti, await site.head())
        return site.pages.see("/account", done="revoked")

    async def _made(
        self, session: SessionRow, client_id: str, once: UUID, filled: _Filled
    ) -> pb.IssueReferenceResponse:
        site = self._site
        if not filled.scopes:  # to the issuer that would mean all of them
            raise Refusal(Kind.INVALID, "invalid_scope", "no scope was chosen")
        wanted = NewToken(
            client_id=client_id,
            scopes=filled.scopes,
            label=filled.label,
            expires_at=site.clock() + timedelta(days=filled.days),
            once=once,
        )
        return await site.own_access.make(session, wanted, await site.head())

    async def _offers(self, session: SessionRow) -> dict[str, pb.Offer]:
        found = await self._site.own_access.overview(session, {}, await self._site.head())
        return {offer.client_id: offer for offer in found.offers}

    def _choose(self, offers: dict[str, pb.Offer]) -> Response:
        return self._site.pages.render("token_choose.html", {"offers": list(offers.values())})

    def _form(self, request: Request, offer: pb.Offer, filled: _Filled, refusal: Refusal | None = None) -> Response:
        site, once = self._site, uuid4()
        about = f"{offer.client_id} {once}"
        wrong = "" if refusal is None else refusal.code
        fields = {
            "application": offer.display_name,
            "alert": _IN_WORDS.get(wrong, ""),
            "wrong": wrong,
            "label": filled.label,
            "scopes": [
                {
                    "field": f"{_SCOPE}{scope.name}",
                    "name": scope.name,
                    "words": in_words(scope),
                    "chosen": scope.name in filled.scopes,
                }
                for scope in offer.scopes
            ],
            "days": DAYS,
            "chosen_days": filled.days,
            "hidden": {
                "application": offer.client_id,
                "once": str(once),
                "form": site.forms.token(MAKE, site.secret(request), about),
            },
        }
        status = 200 if refusal is None else 422 if refusal.kind is Kind.INVALID else STATUS[refusal.kind]
        return site.pages.render("token_new.html", fields, status=status)


def _once(form: Params) -> UUID:
    try:
        return UUID(form.require("once"))
    except ValueError:
        raise invalid_request("the form is not one of ours") from None


def _filled(form: Params) -> _Filled:
    days = form.get("days") or ""
    if days not in map(str, DAYS):
        raise invalid_request("the token's life is none of those that can be chosen")
    scopes = tuple(name.removeprefix(_SCOPE) for name in form if name.startswith(_SCOPE))
    return _Filled((form.get("label") or "").strip()[:200], scopes, int(days))
