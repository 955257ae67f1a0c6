"""Tokens: what one is worth now, grants, reference tokens, and the end of each.

A token that somebody pastes goes to the service that is asked and nowhere else: into no address, no log, and not back
onto the page.
"""

import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.registry.v1 import registry_pb2
from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.console.calls import PAGE_SIZE
from services.console.pages import shown
from services.console.pages.site import Site, once, query
from services.console.sessions import SignedIn
from shared.errors import Kind, Refusal
from shared.http.forms import Params
from stagedoor.validation.v1 import validation_pb2

LOOK: Final = "/tokens/look"
REVOKE: Final = "/tokens/revoke"
END_GRANT: Final = "/grants/end"
REVOKE_REFERENCE: Final = "/references/revoke"

DONE: Final = {
    "revoked": "It is revoked: it is refused everywhere.",
    "expired": "It had expired, so there was nothing to take back.",
    "ended": "The grant has ended, and every token of it.",
}


class Tokens:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tokens = site.calls.tokens

    async def page(self, request: Request, who: SignedIn) -> Response:
        """GET /tokens."""
        return await self._page(request, who, DONE.get(query(request).get("done") or "", ""))

    async def look(self, request: Request, who: SignedIn, form: Params) -> Response:
        """POST /tokens/look: whether a token is accepted now, by an API that admits the console as a caller."""
        # The issuer looks at the certificate alone, so that it is an administrator is asked of it before.
        await self._site.must_administer(who)
        wanted = validation_pb2.ValidateRequest(
            token="".join((form.get("token") or "").split()),
            audience=form.get("audience") or "",
            scopes=(form.get("scopes") or "").split(),
            with_claims=True,
        )
        verdict = await self._site.calls.verdict(wanted)
        claims = json.loads(verdict.claims) if verdict.claims else {}
        fields = {"verdict": verdict, "claims": claims, "audience": wanted.audience}
        return self._site.render(request, who, "verdict.html", fields)

    async def revoke(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /tokens/revoke: a token, or one by its id."""
        token, jti = "".join((form.get("token") or "").split()), (form.get("jti") or "").strip()
        wanted = pb.RevokeTokenRequest(jti=jti) if jti else pb.RevokeTokenRequest(token=token)
        found = await self._site.calls.ask(who, self._tokens.RevokeToken, wanted, once=once(form))
        if not found.position:
            # To a client the answer would be silence (RFC 7009 section 2.2); a person wants to know.
            raise Refusal(Kind.NOT_FOUND, "token_not_found", "there is no such token to take back")
        return self._site.pages.see("/tokens", done="revoked")

    async def grants(self, request: Request, who: SignedIn) -> Response:
        """GET /grants."""
        asked = query(request)
        sub, client_id = asked.get("sub") or "", asked.get("client_id") or ""
        place = who.place(asked.get("from"))
        wanted = pb.ListGrantsRequest(sub=sub, client_id=client_id, page_size=PAGE_SIZE, page_token=place)
        found = await self._site.calls.ask(who, self._tokens.ListGrants, wanted)
        grants = [
            {"one": one, "opened": shown.field(one, "opened_at"), "ends": shown.field(one, "refresh_expires_at")}
            for one in found.grants
        ]
        return self._listed(request, who, "grants.html", {"grants": grants}, asked, found.next_page_token)

    async def end_grant(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /grants/end."""
        wanted = pb.EndGrantRequest(gid=form.require("gid"))
        await self._site.calls.ask(who, self._tokens.EndGrant, wanted, once=once(form))
        return self._site.pages.see(
            "/grants", done="ended", sub=form.get("sub") or "", client_id=form.get("client") or ""
        )

    async def references(self, request: Request, who: SignedIn) -> Response:
        """GET /references."""
        asked = query(request)
        sub, client_id = asked.get("sub") or "", asked.get("client_id") or ""
        place = who.place(asked.get("from"))
        wanted = pb.ListReferencesRequest(sub=sub, client_id=client_id, page_size=PAGE_SIZE, page_token=place)
        found = await self._site.calls.ask(who, self._tokens.ListReferences, wanted)
        references = [
            {
                "one": one,
                "issued": shown.field(one, "issued_at"),
                "ends": shown.field(one, "expires_at"),
                "used": shown.field(one, "last_used_at"),
            }
            for one in found.references
        ]
        return self._listed(request, who, "references.html", {"references": references}, asked, found.next_page_token)

    async def revoke_reference(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /references/revoke."""
        wanted = pb.RevokeReferenceRequest(jti=form.require("jti"))
        found = await self._site.calls.ask(who, self._tokens.RevokeReference, wanted, once=once(form))
        done = "revoked" if found.position else "expired"
        return self._site.pages.see(
            "/references", done=done, sub=form.get("sub") or "", client_id=form.get("client") or ""
        )

    async def _page(self, request: Request, who: SignedIn, notice: str) -> Response:
        wanted = registry_pb2.ListResourcesRequest()
        found = await self._site.calls.ask(who, self._site.calls.registry.ListResources, wanted)
        audiences = [one.identifier for one in found.resources]
        return self._site.render(request, who, "tokens.html", {"audiences": audiences, "notice": notice})

    def _listed(  # noqa: PLR0913, PLR0917  (the parts of a list)
        self, request: Request, who: SignedIn, template: str, fields: dict[str, Any], asked: Params, next_page: str
    ) -> Response:
        shared = {
            "sub": asked.get("sub") or "",
            "client_id": asked.get("client_id") or "",
            "more": who.remember_place(next_page) if next_page else "",
            "notice": DONE.get(asked.get("done") or "", ""),
        }
        return self._site.render(request, who, template, {**fields, **shared})
