"""The person's second factor: set up, turned off, and its recovery codes.

The seed stands in the answer to the form in which the password was typed, and the recovery codes in that to the form
with the first code: neither is ever in an address or a cookie, nor shown again once the factor is on.
"""

from collections.abc import Awaitable, Callable

import segno
from starlette.requests import Request
from starlette.responses import Response

from services.identity.own_passkeys import SignInAgain
from services.identity.own_second_factor import SettingUp
from services.identity.pages.moments import Moments
from services.identity.pages.signin import SECOND_FACTOR
from services.identity.pages.site import Site
from services.identity.read_model import SessionRow
from services.identity.second_factor import WrongCode
from services.identity.sessions import SignInOver, WrongCredentials
from services.identity.throttle import Throttled
from shared.errors import Refusal
from shared.http.forms import Params

PATH = "/account/second-factor"
BEGIN, ADD, REMOVE, REPLACE = "begin-second-factor", "add-second-factor", "remove-second-factor", "replace-codes"
"""What the forms are for, which their tokens are bound to."""
REPLACED = "Those that you had before open nothing any more."
_WRONG = (WrongCredentials, WrongCode, Throttled)

Change = Callable[[SessionRow, Params], Awaitable[Response]]


class SecondFactorPage:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def page(self, request: Request) -> Response:
        """GET /account/second-factor."""
        session = await self._site.session(request)
        return self._site.pages.see("/signin") if session is None else await self._overview(request, session)

    async def begin(self, request: Request) -> Response:
        """POST /account/second-factor/begin: the seed, for who has typed the password."""

        async def change(session: SessionRow, form: Params) -> Response:
            site = self._site
            if session.user.totp_since is not None:
                return site.pages.see(PATH)
            begun = await site.own_second_factor.begin(session, form.get("password") or "", site.origin(request))
            return self._seed(request, begun, session)

        return await self._change(request, BEGIN, change)

    async def add(self, request: Request) -> Response:
        """POST /account/second-factor/add: on, with the first right code."""
        site = self._site
        form = await site.forms.read(request)
        sealed = form.get("begun") or ""
        again = site.pages.path(PATH)
        site.forms.check(form.get("form"), ADD, site.secret(request), sealed, again=again)
        session = await site.session(request)
        if session is None:
            return site.pages.see("/signin")
        begun = site.seals.open_setting_up(sealed)
        try:
            codes = await site.own_second_factor.add(
                session, begun, form.get("code") or "", site.origin(request), site.context(session.user.sub)
            )
        except SignInOver:
            return site.pages.see(PATH)
        except (WrongCode, Throttled) as refusal:
            return self._seed(request, begun, session, refusal)
        except Refusal as refusal:
            if refusal.code != "second_factor_exists":
                raise
            return site.pages.see(PATH)
        if not codes:  # there were some already, with the passkeys
            return site.pages.see("/account", done="second-factor-on")
        return self._recovery_codes(codes, added=True)

    async def remove(self, request: Request) -> Response:
        """POST /account/second-factor/remove."""

        async def change(session: SessionRow, form: Params) -> Response:
            site = self._site
            password, code = form.get("password") or "", form.get("code") or ""
            context = site.context(session.user.sub)
            await site.own_second_factor.remove(session, password, code, site.origin(request), context)
            return site.pages.see("/account", done="second-factor-off")

        return await self._change(request, REMOVE, change)

    async def replace_recovery_codes(self, request: Request) -> Response:
        """POST /account/second-factor/recovery-codes."""

        async def change(session: SessionRow, form: Params) -> Response:
            site = self._site
            password, code = form.get("password") or "", form.get("code") or ""
            context = site.context(session.user.sub)
            codes = await site.own_second_factor.replace_recovery_codes(
                session, password, code, site.origin(request), context
            )
            return self._recovery_codes(codes, added=False)

        return await self._change(request, REPLACE, change)

    async def _change(self, request: Request, purpose: str, change: Change) -> Response:
        """Carry out what a form of the first page asks for, or show it again with what was wrong."""
        site = self._site
        form = await site.forms.read(request)
        site.forms.check(form.get("form"), purpose, site.secret(request), again=site.pages.path(PATH))
        session = await site.session(request)
        if session is None:
            return site.pages.see("/signin")
        try:
            return await change(session, form)
        except SignInOver:
            return site.pages.see(PATH)
        except SignInAgain:
            return site.pages.see("/signin", then=SECOND_FACTOR)
        except _WRONG as refusal:
            return await self._overview(request, session, purpose, refusal)
        except Refusal as refusal:
            if refusal.code != "no_second_factor":
                raise
            return site.pages.see(PATH)

    async def _overview(
        self, request: Request, session: SessionRow, purpose: str = "", refusal: Refusal | None = None
    ) -> Response:
        site, secret = self._site, self._site.secret(request)
        since = session.user.totp_since
        left = 0 if since is None else await site.own_second_factor.recovery_codes_left(session.user.sub)
        fields = {
            "user_name": session.user.user_name,
            "passkeys": session.user.has_passkeys,
            "since": None if since is None else Moments.of(session.user).day(since),
            "left": left,
            "wrong": purpose,
            "alert": _in_words(refusal),
            "wrong_password": isinstance(refusal, WrongCredentials),
            "wrong_code": isinstance(refusal, WrongCode),
            "begin": {"form": site.forms.token(BEGIN, secret)},
            "remove": {"form": site.forms.token(REMOVE, secret)},
            "replace": {"form": site.forms.token(REPLACE, secret)},
        }
        status, headers = _status(refusal)
        return site.pages.render("second_factor.html", fields, status=status, headers=headers)

    def _seed(
        self, request: Request, begun: SettingUp, session: SessionRow, refusal: Refusal | None = None
    ) -> Response:
        site = self._site
        sealed = site.seals.seal_setting_up(begun)
        address = begun.seed.address(session.user.user_name, f"Stagedoor {site.pages.host}")
        fields = {
            "picture": _picture(address),
            "seed": begun.seed.text,
            "address": address,
            "alert": _in_words(refusal),
            "wrong": isinstance(refusal, WrongCode),
            "hidden": {"begun": sealed, "form": site.forms.token(ADD, site.secret(request), sealed)},
        }
        status, headers = _status(refusal)
        return site.pages.render("second_factor_seed.html", fields, status=status, headers=headers)

    def _recovery_codes(self, codes: tuple[str, ...], *, added: bool) -> Response:
        lead = "The second factor is on." if added else REPLACED
        return self._site.pages.render("recovery_codes.html", {"codes": codes, "lead": lead})


def _picture(address: str) -> str:
    """A QR code (ISO/IEC 18004) as SVG in the page, dark on light whatever the page's colours are."""
    made = segno.make(address, error="m", micro=False)
    # The template takes it as it is: it is made of numbers and of what is said here, nothing of the address is in it.
    return made.svg_inline(border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None)


def _in_words(refusal: Refusal | None) -> str:
    if isinstance(refusal, WrongCredentials):
        return "The password is not right."
    return "" if refusal is None else refusal.message


def _status(refusal: Refusal | None) -> tuple[int, dict[str, str]]:
    if isinstance(refusal, Throttled):
        return 429, {"Retry-After": str(max(1, round(refusal.retry_after)))}
    return (200 if refusal is None else 422), {}
