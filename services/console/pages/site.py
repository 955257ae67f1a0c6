"""What all pages share: who looks at them, what they are made of, and what becomes of a refusal."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.identity.v1 import identity_pb2
from protos.stagedoor.ledger.v1 import ledger_pb2
from protos.stagedoor.tokens.v1 import tokens_pb2
from services.console.calls import Calls, is_signed_out, lacks_the_role
from services.console.client import BEGUN_SECONDS, Client
from services.console.sessions import SessionTable, SignedIn, Standing
from shared.errors import Refusal, TooManyRequests, Unavailable
from shared.http.client_address import ClientAddresses
from shared.http.errors import STATUS, HttpRefusal, invalid_request
from shared.http.forms import Params, read_query, single
from shared.pages.cookies import Cookies
from shared.pages.forms import ForeignForm, Forms
from shared.pages.rendering import Pages, see_other
from shared.rate_limit import RateLimit
from shared.telemetry import correlation, new_correlation

TEMPLATES: Final = Path(__file__).parent
STATIC: Final = ("console.css", "live.js")
_AT_ONCE: Final = 10.0
"""Seconds after a sign-in within which a token that is not accepted is no reason for another one."""
_LONGEST_ADDRESS: Final = 1000

Page = Callable[[Request, SignedIn], Awaitable[Response]]
Action = Callable[[Request, SignedIn, Params], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Cookie(StrEnum):
    """What each is for."""

    SESSION = "stagedoor_console"
    """The secret by which a session is found."""
    BEGUN = "stagedoor_console_begun"
    """A sign-in under way, sealed."""


def cookies_at(base: str) -> Cookies:
    """As the console's address demands.

    They are bound to its path, so other services of the origin are not shown them; `__Host-` would have them sent
    everywhere (decision 130).
    """
    parts = urlsplit(base)
    return Cookies(parts.scheme == "https", parts.path, "__Secure-")


@dataclass(frozen=True, slots=True)
class Site:
    """The parts."""

    pages: Pages
    cookies: Cookies
    forms: Forms
    sessions: SessionTable
    client: Client
    calls: Calls
    origin: str
    issuer: str
    addresses: ClientAddresses
    answers: RateLimit
    """Answers to authorization requests that were none, by the network that they came from."""

    # Who

    def who(self, request: Request) -> SignedIn | None:
        """Who is signed in in this browser."""
        return self.sessions.find(self.secret(request))

    def secret(self, request: Request) -> str:
        """The session's secret, that forms are bound to."""
        return self.cookies.read(request, Cookie.SESSION) or ""

    async def standing(self, who: SignedIn) -> Standing:
        """What this person may do here, by what the services say to two small questions."""
        if who.standing is None:
            administers, audits = await asyncio.gather(
                self._admitted(who, self.calls.tokens.ListKeys, tokens_pb2.ListKeysRequest()),
                self._admitted(who, self.calls.ledger.GetHead, ledger_pb2.GetHeadRequest()),
            )
            who.standing = Standing(administers, audits, await self._name(who) if administers else "")
        return who.standing

    async def must_administer(self, who: SignedIn) -> None:
        """Refuse in the issuer's words whoever is no administrator now: for pages that ask nothing else."""
        await self.calls.ask(who, self.calls.tokens.ListKeys, tokens_pb2.ListKeysRequest())

    async def _admitted(self, who: SignedIn, method: Any, request: Any) -> bool:
        try:
            await self.calls.ask(who, method, request)
        except Refusal as refusal:
            if lacks_the_role(refusal):
                return False
            raise
        return True

    async def _name(self, who: SignedIn) -> str:
        request = identity_pb2.GetUserRequest(user=identity_pb2.UserKey(sub=who.sub))
        user = (await self.calls.ask(who, self.calls.identity.GetUser, request)).user
        return str(user.profile.display_name or user.user_name)

    # Ways in and out

    def begin(self, request: Request) -> Response:
        """To the issuer, and back to this page afterwards."""
        query = request.scope["query_string"].decode("ascii", "replace")
        to = request.scope["path"] + (f"?{query}" if query else "")
        address, sealed = self.client.begin(to if len(to) <= _LONGEST_ADDRESS else urlsplit(self.pages.path("/")).path)
        answer = see_other(address)
        answer.headers["Cache-Control"] = "no-store"
        self.cookies.set(answer, Cookie.BEGUN, sealed, BEGUN_SECONDS)
        return answer

    def page(self, handler: Page) -> Endpoint:
        """A page for people who are signed in; others are sent to sign in, without a word where a session stands."""

        async def answer(request: Request) -> Response:
            if len(self.cookies.values(request, Cookie.SESSION)) > 1:
                # Signing in would not take the others away, and would have to be done again for ever.
                text = "Your browser has several cookies of this console, so another site has set some. Remove them."
                return self.failure(request, None, 400, "This cannot be told apart", text, code="several_cookies")
            who = self.who(request)
            if who is None or self.sessions.near_its_end(who):
                return self.begin(request)
            try:
                standing = await self.standing(who)
                if not (standing.administers or standing.audits):
                    return self.nobody(request, who, "Neither an administrator nor an auditor is signed in.")
                return await handler(request, who)
            except Refusal as refusal:
                if is_signed_out(refusal) and self.sessions.now - who.began > _AT_ONCE:
                    self.sessions.end(self.secret(request))
                    return self.begin(request)
                return self.refused(request, who, refusal)

        return answer

    def action(self, path: str, handler: Action, back: str) -> Endpoint:
        """What a form at this path does. `back`: the page where whoever cannot send it begins anew."""

        async def answer(request: Request) -> Response:
            form = await self.forms.read(request)
            who = self.who(request)
            self.forms.check(form.get("form"), path, self.secret(request), again=self.pages.path(back))
            if who is None:
                raise ForeignForm(self.pages.path(back))
            try:
                return await handler(request, who, form)
            except Refusal as refusal:
                return self.refused(request, who, refusal)

        return answer

    # Answers

    def render(  # noqa: PLR0913  (the parts of a page)
        self,
        request: Request,
        who: SignedIn | None,
        template: str,
        fields: Mapping[str, Any],
        *,
        status: int = 200,
        script: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A page, with the ways to the others that this person has."""
        secret = self.secret(request)
        shared = {
            "standing": None if who is None else who.standing,
            "signed_in": who is not None,
            "here": request.scope["path"].removeprefix(urlsplit(self.pages.path("")).path),
            "hidden": partial(self._hidden, secret),
            "alert": "",
            "notice": "",
        }
        return self.pages.render(
            template, {**shared, **fields}, status=status, headers=headers, script=script, asks=bool(script)
        )

    def _hidden(self, secret: str, path: str, /, **fields: str) -> Mapping[str, str]:
        """The hidden fields of the form at a path: what proves that it is ours, and makes it count once."""
        return {"form": self.forms.token(path, secret), "once": str(uuid4()), **fields}

    def refused(self, request: Request, who: SignedIn | None, refusal: Refusal) -> Response:
        """A page that says what is wrong, in the words of the service that said so."""
        status = refusal.status if isinstance(refusal, HttpRefusal) else STATUS[refusal.kind]
        heading, text, headers = "This was refused", sentence(refusal.message), {}
        way = "Go to the first page", self.pages.path("/")
        match refusal:
            case Unavailable() | TooManyRequests():
                heading = "Please try again shortly"
                headers["Retry-After"] = str(max(1, ceil(refusal.retry_after)))
            case ForeignForm():
                heading = "This page has expired"
                way = "Open it anew", refusal.again or self.pages.path("/")
            case _ if is_signed_out(refusal):
                self.sessions.end(self.secret(request))
                who, heading = None, "You are not signed in any more"
                text = f"Nothing was done: {refusal.message}."
                way = "Sign in again", self.pages.path("/")
            case _ if lacks_the_role(refusal) and who is not None:
                who.standing = None  # the next page asks anew
            case _:
                pass
        return self.failure(request, who, status, heading, text, code=refusal.code, way=way, headers=headers)

    def nobody(self, request: Request, who: SignedIn | None, text: str) -> Response:
        """The page for somebody who is known and has nothing to do here."""
        way = "Go to your account", f"{self.issuer}/account"
        return self.failure(request, who, 403, "You are no administrator", text, code="access_denied", way=way)

    def failure(  # noqa: PLR0913  (the parts of a page)
        self,
        request: Request,
        who: SignedIn | None,
        status: int,
        heading: str,
        text: str,
        *,
        code: str = "",
        way: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A page that says what is wrong. `way`: where to go from here, in words and as a path."""
        reference = correlation.get() or new_correlation()
        fields = {"heading": heading, "text": text, "detail": "", "code": code, "way": way, "reference": reference}
        return self.render(request, who, "error.html", fields, status=status, headers=headers)


def query(request: Request) -> Params:
    """The parameters of one of our own pages; each at most once."""
    return single(read_query(request), repeatable=())


def once(form: Params) -> UUID:
    """The key by which a form counts once, however often it is sent."""
    try:
        return UUID(form.require("once"))
    except ValueError:
        raise invalid_request("the form is not one of ours") from None


def confirmed(form: Params, expected: str) -> None:
    """Refuse what cannot be undone unless its name was typed."""
    if (form.get("typed") or "").strip() != expected:
        raise invalid_request("nothing was done: what you typed is not the name of what would be gone")


def sentence(message: str) -> str:
    """A message as a sentence."""
    return f"{message[:1].upper()}{message[1:]}{'' if message.endswith('.') else '.'}"
