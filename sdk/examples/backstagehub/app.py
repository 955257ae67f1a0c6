"""BackstageHub's pages."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from hmac import compare_digest
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backstagehub.logout import LogoutTokens
from backstagehub.refusals import AccessRefused, NotBegunHere, NotPossibleNow, WrongInput
from backstagehub.sessions import Sessions, SignedIn
from backstagehub.settings import Settings
from backstagehub.sign_in import SignIn
from backstagehub.tours import Tour, Tours

_HERE = Path(__file__).parent
_SESSION = "id"
"""What the cookie has: the id of the session, and nothing else of it."""
_LONGEST_FORM = 8 * 1024


def application(settings: Settings) -> Starlette:
    """BackstageHub."""
    http = httpx.AsyncClient(timeout=10, trust_env=False, verify=settings.trust())
    hub = Hub(settings, http)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with http:
            yield

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", hub.home),
            Route("/login", hub.login),
            Route("/callback", hub.callback),
            Route("/tours", hub.add_tour, methods=["POST"]),
            Route("/sync", hub.sync, methods=["POST"]),
            Route("/logout", hub.logout, methods=["POST"]),
            Route("/signed-out", hub.signed_out),
            Route("/backchannel-logout", hub.told_of_logout, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[urlsplit(settings.origin).hostname or ""]),
            Middleware(PageHeaders, issuer_origin=settings.issuer_origin),
            # The key is made anew at each start, because what the cookie leads to is gone then as well.
            Middleware(
                SessionMiddleware,
                secret_key=secrets.token_urlsafe(32),
                session_cookie="backstagehub",
                max_age=None,
                same_site="lax",
                https_only=settings.secure,
            ),
        ],
        exception_handlers={
            AccessRefused: hub.refused,
            NotPossibleNow: hub.not_possible_now,
            HTTPException: hub.not_here,
        },
    )


class Hub:
    """The pages, and what they need."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        self._sign_in = SignIn(settings, http)
        self._sessions = Sessions()
        self._logout_tokens = LogoutTokens(settings.issuer, settings.client_id, self._sign_in.keys)
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined
        )
        self._templates.filters["poster_date"] = _poster_date

    async def home(self, request: Request) -> Response:
        """Freddie's dates; or, to a stranger, the way in."""
        signed_in = self._signed_in(request)
        if signed_in is None:
            return self._page("welcome.html")
        tours = await (await self._tours(signed_in)).all()
        notice, signed_in.notice = signed_in.notice, ""
        return self._page("tours.html", signed_in=signed_in, tours=tours, notice=notice, wrong="", typed={})

    async def login(self, request: Request) -> Response:
        """To Stagedoor, where the password is typed in and nowhere else."""
        return await self._sign_in.begin(request)

    async def callback(self, request: Request) -> Response:
        """Back from Stagedoor."""
        try:
            signed_in = await self._sign_in.finish(request)
        except NotBegunHere:
            if self._signed_in(request) is None:
                raise
            return RedirectResponse("/", 303)  # whoever went back is still who they were
        self._sessions.end(request.session.get(_SESSION))
        request.session.clear()
        request.session[_SESSION] = self._sessions.begin(signed_in)
        return RedirectResponse("/", 303)

    async def add_tour(self, request: Request) -> Response:
        """One more date."""
        signed_in, typed = await self._form(request)
        tour = Tour(*(typed.get(name, "").strip() for name in ("title", "venue", "city", "date")))
        tours = await self._tours(signed_in)
        try:
            await tours.add(tour)
        except WrongInput as wrong:
            everything = await tours.all()
            return self._page(
                "tours.html",
                400,
                signed_in=signed_in,
                tours=everything,
                notice="",
                wrong=str(wrong),
                typed=typed,
            )
        signed_in.notice = f"{tour.city} is on the bill."
        return RedirectResponse("/", 303)

    async def sync(self, request: Request) -> Response:
        """The book and the platform, in tune."""
        signed_in, _ = await self._form(request)
        new = await (await self._tours(signed_in)).sync()
        signed_in.notice = f"In sync. {new} new {'date' if new == 1 else 'dates'} sent." if new else "Already in sync."
        return RedirectResponse("/", 303)

    async def logout(self, request: Request) -> Response:
        """Out, here and at Stagedoor."""
        signed_in, _ = await self._form(request)
        self._sessions.end(request.session.get(_SESSION))
        request.session.clear()
        return RedirectResponse(await self._sign_in.end(signed_in), 303)

    async def signed_out(self, _: Request) -> Response:
        """Goodbye."""
        return self._page("signed_out.html")

    async def told_of_logout(self, request: Request) -> Response:
        """Stagedoor says that a session has ended, wherever that was: then it has ended here."""
        typed = await self._typed(request)
        try:
            ended = await self._logout_tokens.verify(typed.get("logout_token", ""))
        except AccessRefused as invalid:
            return JSONResponse({"error": invalid.code, "error_description": invalid.description}, 400)
        self._sessions.end_those_of(ended.sub, ended.sid)
        return Response()

    async def refused(self, request: Request, refusal: Exception) -> Response:
        """Stagedoor says no: say so, and why, in its own word for it."""
        signed_in = self._signed_in(request)
        return self._page("refused.html", 403, signed_in=signed_in, refusal=refusal)

    async def not_possible_now(self, request: Request, failure: Exception) -> Response:
        """Nobody says no, but nobody answers either."""
        page = self._page("not_now.html", 503, signed_in=self._signed_in(request), failure=failure)
        page.headers["retry-after"] = "5"
        return page

    async def not_here(self, request: Request, failure: Exception) -> Response:
        """An address that does not exist, or a form that cannot be taken."""
        status = failure.status_code if isinstance(failure, HTTPException) else 500
        signed_in = self._signed_in(request)
        return self._page("not_here.html", status, signed_in=signed_in, status=status)

    def _signed_in(self, request: Request) -> SignedIn | None:
        return self._sessions.find(request.session.get(_SESSION))

    async def _tours(self, signed_in: SignedIn) -> Tours:
        return Tours(self._http, self._settings.api, await self._sign_in.access_token(signed_in))

    async def _form(self, request: Request) -> tuple[SignedIn, dict[str, str]]:
        """Who sent a form, and what is in it; a form that is not from one of these pages is refused."""
        signed_in, typed = self._signed_in(request), await self._typed(request)
        given = typed.pop("csrf_token", "")
        if signed_in is None or not compare_digest(given.encode(), signed_in.csrf_token.encode()):
            raise HTTPException(403)
        return signed_in, typed

    async def _typed(self, request: Request) -> dict[str, str]:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_FORM:
                raise HTTPException(413)
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))

    def _page(self, template: str, status: int = 200, /, **values: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render({"signed_in": None, **values}), status)


class PageHeaders:
    """What browsers must not do with these pages. ASGI middleware."""

    def __init__(self, app: ASGIApp, issuer_origin: str) -> None:
        self._app = app
        # Signing out is a form that redirects to the issuer, which browsers count as its target.
        policy = (
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
            f"form-action 'self' {issuer_origin}"
        )
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *self._headers]
                if not scope["path"].startswith("/static/"):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, with_headers)


def _poster_date(text: str) -> tuple[str, str, str]:
    """Day, month and year as a poster has them."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return text, "", ""
    return f"{day.day:02}", f"{day:%b}".upper(), str(day.year)
