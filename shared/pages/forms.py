"""Forms that only our own pages can send: a token in the form, bound to a secret in a cookie, and where it comes from.

The token is sealed over what the form is for, the cookie of the browser that it was shown in and the request that it
belongs to, so it is worth nothing for another form, in another browser or for another application's request. Where
browsers say from which site a form was sent, that has to be this one; they all do, other clients need not.
"""

from base64 import urlsafe_b64encode
from datetime import timedelta
from urllib.parse import urlsplit

from starlette.requests import Request

from shared.clock import Clock
from shared.errors import Kind, Refusal
from shared.http.errors import invalid_request
from shared.http.forms import Params, read_form, single
from shared.ids import keyed_digest, same
from shared.keys import MasterKey

FORM_BYTES = 48 * 1024
"""The longest form that a page of ours sends."""


class ForeignForm(Refusal):
    """The form was not sent by a page of ours in this browser, or the page is too old."""

    def __init__(self, again: str = "") -> None:
        super().__init__(
            Kind.FORBIDDEN,
            "form_expired",
            "What you sent was not taken: the page was open for too long, you signed in or out meanwhile, or it was "
            "not sent from here.",
        )
        self.again = again
        """Where the page can be had anew; empty: not known."""


class Forms:
    """Makes tokens for forms, and reads forms."""

    def __init__(self, master: MasterKey, issuer: str, clock: Clock, lifetime: timedelta) -> None:
        self._key = master.derive("forms")
        parts = urlsplit(issuer)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._clock = clock
        self._lifetime = lifetime

    def token(self, purpose: str, secret: str, about: str = "") -> str:
        """The token for a form: bound to its purpose, to a cookie's secret, and to the request it is about."""
        return self._token(purpose, secret, about, int(self._clock().timestamp()))

    async def read(self, request: Request) -> Params:
        """The fields of a form that was sent from this site; each at most once. Raises `Refusal`."""
        self._check_site(request)
        return single(await read_form(request, limit=FORM_BYTES), repeatable=())

    def check(self, given: str | None, purpose: str, secret: str | None, about: str = "", *, again: str) -> None:
        """Raises `ForeignForm` unless this is the token that was made for just this.

        `again`: the path of the page that the form is on, where whoever sent it can begin anew.
        """
        if not self._fits(given, purpose, secret, about):
            raise ForeignForm(again)

    def _fits(self, given: str | None, purpose: str, secret: str | None, about: str) -> bool:
        made, dot, _ = (given or "").partition(".")
        if not secret or not dot or not made.isascii() or not made.isdigit() or len(made) > 12:
            return False
        age = self._clock().timestamp() - int(made)
        if not (-60 <= age <= self._lifetime.total_seconds()):
            return False
        return same(given or "", self._token(purpose, secret, about, int(made)))

    def _token(self, purpose: str, secret: str, about: str, made: int) -> str:
        bound = keyed_digest(self._key, f"form {purpose} {made}", f"{secret}\0{about}")
        return f"{made}.{urlsafe_b64encode(bound).decode().rstrip('=')}"

    def _check_site(self, request: Request) -> None:
        """Hold `Sec-Fetch-Site` and `Origin`, where they are there, against this site."""
        sites = request.headers.getlist("sec-fetch-site")
        origins = request.headers.getlist("origin")
        if len(sites) > 1 or len(origins) > 1:
            raise invalid_request("the request says twice where it comes from")
        if sites and sites[0] != "same-origin":
            raise ForeignForm
        if origins and origins[0] != self._origin:
            raise ForeignForm
