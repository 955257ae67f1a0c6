"""The person's passkeys: what there are, added and removed."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from services.identity.own_passkeys import PasskeyTaken, SignInAgain
from services.identity.pages.asking import answered
from services.identity.pages.moments import Moments
from services.identity.pages.second_factor import REPLACED
from services.identity.pages.signin import PASSKEYS
from services.identity.pages.site import Site, query
from services.identity.passkey_rows import PasskeyRow
from services.identity.passkeys import Purpose, WrongPasskey
from services.identity.read_model import SessionRow
from shared.errors import Refusal
from shared.http.forms import Params

PATH = "/account/passkeys"
BEGIN, ADD, REMOVE, REPLACE = "begin-passkey", "add-passkey", "remove-passkey", "replace-codes-of-passkeys"
"""What the forms are for, which their tokens are bound to."""
_DONE = {
    "added": "The passkey is added. Wherever else you were signed in, you are not any more.",
    "removed": "The passkey opens nothing any more. Wherever else you were signed in, you are not any more.",
}
"""By the word in the address: nothing that a link says is shown."""
_IN_WORDS = {
    "invalid_passkey_name": "Give the passkey a name of 1 to 60 characters that can be seen.",
    "too_many_passkeys": "You have as many passkeys as there can be. Remove one that you do not use.",
    "wrong_passkey": "The passkey was not added: it took too long, or it cannot be used here. Try again.",
}

_FIRST = "The passkey is added. From now on your password alone signs nobody in."

Change = Callable[[SessionRow, Params], Awaitable[Response]]


class PasskeysPage:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def page(self, request: Request) -> Response:
        """GET /account/passkeys."""
        session = await self._site.session(request)
        return self._site.pages.see("/signin") if session is None else await self._overview(request, session)

    async def begin(self, request: Request) -> Response:
        """POST /account/passkeys/begin: the browser is asked to make one."""

        async def change(session: SessionRow, form: Params) -> Response:
            site = self._site
            asked = await site.own_passkeys.begin(session, form.get("name") or "")
            secret = site.secret(request)
            begun = site.seals.seal_ceremony(asked.ceremony, secret)
            fields = {
                "heading": "Add a passkey",
                "called": asked.ceremony.name,
                "lead": "your browser asks where it is to be kept.",
                "application": "",
                "device": False,
                "alert": "",
                "action": site.pages.path(f"{PATH}/add"),
                "ceremony": "create",
                "options": asked.options,
                "button": "Go on",
                "others": [(site.pages.path(PATH), "Add none")],
                "hidden": {"begun": begun, "form": site.forms.token(ADD, secret, begun)},
            }
            return site.pages.render("passkey.html", fields, script="passkey.js")

        return await self._change(request, BEGIN, change)

    async def add(self, request: Request) -> Response:
        """POST /account/passkeys/add: what the browser made."""

        async def change(session: SessionRow, form: Params) -> Response:
            site = self._site
            made = answered(site, form, Purpose.ADD, site.secret(request), session.sid)
            codes = await site.own_passkeys.add(session, made, site.context(session.user.sub))
            return self._recovery_codes(codes, _FIRST) if codes else site.pages.see(PATH, done="added")

        return await self._change(request, ADD, change, about="begun")

    async def remove(self, request: Request) -> Response:
        """POST /account/passkeys/remove."""

        async def change(session: SessionRow, form: Params) -> Response:
            site = self._site
            await site.own_passkeys.remove(session, form.require("passkey"), site.context(session.user.sub))
            return site.pages.see(PATH, done="removed")

        return await self._change(request, REMOVE, change, about="passkey")

    async def replace_recovery_codes(self, request: Request) -> Response:
        """POST /account/passkeys/recovery-codes."""

        async def change(session: SessionRow, _: Params) -> Response:
            context = self._site.context(session.user.sub)
            codes = await self._site.own_passkeys.replace_recovery_codes(session, context)
            return self._recovery_codes(codes, REPLACED)

        return await self._change(request, REPLACE, change)

    async def _change(self, request: Request, purpose: str, change: Change, about: str = "") -> Response:
        """Carry out what a form asks for, or show the page again with what was wrong. `about`: what it belongs to."""
        site = self._site
        form = await site.forms.read(request)
        belongs = (form.get(about) or "") if about else ""
        site.forms.check(form.get("form"), purpose, site.secret(request), belongs, again=site.pages.path(PATH))
        session = await site.session(request)
        if session is None:
            return site.pages.see("/signin", then=PASSKEYS)
        try:
            return await change(session, form)
        except SignInAgain:
            return site.pages.see("/signin", then=PASSKEYS)
        except (WrongPasskey, PasskeyTaken) as refusal:
            return await self._overview(request, session, refusal)
        except Refusal as refusal:
            if refusal.code == "no_second_factor":
                return site.pages.see(PATH)
            if refusal.code not in _IN_WORDS:
                raise
            return await self._overview(request, session, refusal, name=form.get("name") or "")

    async def _overview(
        self, request: Request, session: SessionRow, refusal: Refusal | None = None, name: str = ""
    ) -> Response:
        site, secret = self._site, self._site.secret(request)
        moments = Moments.of(session.user)
        own = await site.own_passkeys.of(session.user.sub)
        left = await site.own_second_factor.recovery_codes_left(session.user.sub) if own else 0
        fields = {
            "offered": site.passkeys.offered,
            "changing": site.own_passkeys.may_change(session),
            "second_factor": session.user.has_second_factor,
            "passkeys": [self._shown(secret, one, moments) for one in own],
            "left": left,
            "name": name[:60],
            "wrong_name": refusal is not None and refusal.code == "invalid_passkey_name",
            "notice": _DONE.get(query(request, "done") or "", "") if refusal is None else "",
            "alert": "" if refusal is None else _IN_WORDS.get(refusal.code, refusal.message),
            "begin": {"form": site.forms.token(BEGIN, secret)},
            "replace": {"form": site.forms.token(REPLACE, secret)},
        }
        return site.pages.render("passkeys.html", fields, status=200 if refusal is None else 422)

    def _shown(self, secret: str, one: PasskeyRow, moments: Moments) -> dict[str, object]:
        return {
            "name": one.name,
            "added": moments.day(one.added_at),
            "used": None if one.used_at is None else moments.minute(one.used_at),
            "hidden": {"passkey": one.passkey_id, "form": self._site.forms.token(REMOVE, secret, one.passkey_id)},
        }

    def _recovery_codes(self, codes: tuple[str, ...], lead: str) -> Response:
        return self._site.pages.render("recovery_codes.html", {"codes": codes, "lead": lead})
