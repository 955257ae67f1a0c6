"""The first page, and the ways in and out."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.ledger.v1 import ledger_pb2
from services.console.client import Begun, Tokens
from services.console.pages import shown
from services.console.pages.site import Cookie, Site, query, sentence
from services.console.sessions import SignedIn
from shared.errors import Kind, Refusal
from shared.http.client_address import Sent, network
from shared.http.forms import Params
from shared.pages.rendering import see_other

SIGN_OUT = "/sign-out"


class Front:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def overview(self, request: Request, who: SignedIn) -> Response:
        """GET /: how far the log has come, and the ways on."""
        head = None
        if who.standing is not None and who.standing.audits:
            found = await self._site.calls.ask(who, self._site.calls.ledger.GetHead, ledger_pb2.GetHeadRequest())
            head = {"position": found.position, "epoch": found.epoch, "at": shown.field(found, "recorded_at")}
        return self._site.render(request, who, "overview.html", {"head": head})

    async def callback(self, request: Request) -> Response:
        """GET /callback: back from the issuer."""
        site = self._site
        try:
            given = query(request)
            begun = site.client.begun(site.cookies.read(request, Cookie.BEGUN), given.get("state"))
            answer = {name: given.get(name) for name in ("iss", "code", "error", "error_description")}
            place = network(site.addresses.of(Sent.by(request.scope)))
            site.answers.check(place)
            tokens = await self._finished(begun, answer, place)
        except Refusal as refusal:
            if refusal.code == "not_begun_here" and site.who(request) is not None:
                return site.pages.see("/")  # whoever went back is still who they were
            if refusal.code == "access_denied":
                return site.nobody(request, None, sentence(refusal.message))
            return site.refused(request, site.who(request), refusal)
        now = site.sessions.now
        signed_in = SignedIn(tokens.sub, tokens.access_token, tokens.id_token, now, now + tokens.expires_in)
        site.sessions.end(site.secret(request))
        secret = site.sessions.begin(signed_in)
        response = see_other(site.origin + begun.to)
        response.headers["Cache-Control"] = "no-store"
        site.cookies.set(response, Cookie.SESSION, secret)
        site.cookies.clear(response, Cookie.BEGUN)
        return response

    async def _finished(self, begun: Begun, answer: Mapping[str, str | None], place: str) -> Tokens:
        """Redeem an answer. To the issuer all come from the console, so whoever invents some is stopped here."""
        try:
            return await self._site.client.finish(begun, answer)
        except Refusal as refusal:
            if answer.get("code") and refusal.kind is not Kind.UNAVAILABLE:
                self._site.answers.failed(place)
            raise

    async def sign_out(self, request: Request, who: SignedIn, form: Params) -> Response:
        """POST /sign-out: out here, and at the issuer."""
        del form
        site = self._site
        site.sessions.end(site.secret(request))
        response = see_other(site.client.sign_out(who.id_token))
        site.cookies.clear(response, Cookie.SESSION)
        return response

    async def signed_out(self, request: Request) -> Response:
        """GET /signed-out."""
        return self._site.render(request, None, "signed_out.html", {})
