"""The keys that sign tokens."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.tokens.v1 import tokens_pb2 as pb
from services.console.pages import shown
from services.console.pages.site import Site, confirmed, once, query
from services.console.sessions import SignedIn
from shared.http.forms import Params

ROTATE: Final = "/keys/rotate"
COMPROMISE: Final = "/keys/compromise"

DONE: Final = {
    "rotated": "A successor is announced. It signs once everybody can have fetched it.",
    "compromised": "The key is compromised: nothing that it signed is accepted any more, and another one signs.",
}


class Keys:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tokens = site.calls.tokens

    async def list(self, request: Request, who: SignedIn) -> Response:
        """GET /keys."""
        found = await self._site.calls.ask(who, self._tokens.ListKeys, pb.ListKeysRequest())
        keys = [
            {
                "one": one,
                "announced": shown.field(one, "announced_at"),
                "signs": shown.field(one, "use_from") if one.state == "pending" else "",
                "retires": shown.field(one, "retire_from") if one.state == "retiring" else "",
            }
            for one in found.keys
        ]
        uses = list(dict.fromkeys(one.use for one in found.keys))
        fields = {"keys": keys, "uses": uses, "notice": DONE.get(query(request).get("done") or "", "")}
        return self._site.render(request, who, "keys.html", fields)

    async def rotate(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /keys/rotate."""
        wanted = pb.RotateKeyRequest(use=form.require("use"))
        await self._site.calls.ask(who, self._tokens.RotateKey, wanted, once=once(form))
        return self._site.pages.see("/keys", done="rotated")

    async def compromise(self, _: Request, who: SignedIn, form: Params) -> Response:
        """POST /keys/compromise."""
        wanted = pb.CompromiseKeyRequest(kid=form.require("kid"))
        confirmed(form, wanted.kid)
        await self._site.calls.ask(who, self._tokens.CompromiseKey, wanted, once=once(form))
        return self._site.pages.see("/keys", done="compromised")
