"""The pages of an install link and of an uninstall link, on which an administrator approves.

    {issuer}/install?document=…       what a vendor's document describes; approved, it is trusted
    {issuer}/uninstall?client_id=…    what ends with an application; approved, it ends for ever

A link does nothing by itself: whoever follows one has to be an administrator now, has proved a moment ago that it is
them, and sends a form that is bound to their session and to what they were shown. Nothing of a vendor's is on the page
but its words: no picture is loaded from there.
"""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Final, TypeVar
from urllib.parse import urlencode
from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import Response

from protos.stagedoor.registry.v1 import installation_pb2 as pb
from protos.stagedoor.registry.v1 import registry_pb2
from services.identity.domain.session import FILLING_IN, proved_recently
from services.identity.events import Role
from services.identity.management_tokens import SignInAgain
from services.identity.pages.pending import Installed
from services.identity.pages.signin import INSTALL, UNINSTALL, then_about
from services.identity.pages.site import Site, query
from services.identity.read_model import SessionRow
from shared.errors import Kind, Refusal, TooManyRequests, Unavailable
from shared.http.errors import invalid_request
from shared.http.forms import Params
from shared.ids import digest

T = TypeVar("T")

APPROVE: Final = "install-application"
END: Final = "uninstall-application"
_LONGEST: Final = 2048
"""Characters of an address or a name in a link."""

_KINDS: Final = {
    "confidential": "It has a server of its own, and proves with a key of its own that it is itself.",
    "public": "It runs in people's browsers, where nothing can be kept secret.",
    "native": "It is installed on people's own devices, where nothing can be kept secret.",
}
_WAYS: Final = {
    "authorization_code": "People sign in to it here; each of them is asked first, and it never learns a password.",
    "refresh_token": "It can keep what a person allows it while that person is away.",
    "urn:ietf:params:oauth:grant-type:device_code": "People can connect it from devices that have no browser.",
    "urn:ietf:params:oauth:grant-type:token-exchange": "As an API, it can call other APIs for a person who called it.",
}
"""What a grant means, in words; in the order in which they are told."""
_BY_PEOPLE: Final = {"authorization_code", "urn:ietf:params:oauth:grant-type:device_code"}
"""Grants that a person begins."""


class LinkRefused(Refusal):
    """A link that was followed leads nowhere: the page says why, and what to do."""

    def __init__(  # noqa: PLR0913  (the parts of a page)
        self,
        kind: Kind,
        code: str,
        message: str,
        *,
        heading: str,
        detail: str = "",
        way: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(kind, code, message)
        self.heading = heading
        self.detail = detail
        self.way = way
        """Where to go from there, in words and as a path; None: to the account."""


class InstallPages:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def page(self, request: Request) -> Response:
        """GET /install."""
        document = _named(query(request, "document"), "the link names no document")
        session = await self._administrator(request, INSTALL, document, fresh_for_a_form=True)
        if not isinstance(session, SessionRow):
            return session
        return await self._offer(request, session, document)

    async def submit(self, request: Request) -> Response:
        """POST /install."""
        site = self._site
        form = await site.forms.read(request)
        document, shown, once = form.require("document"), form.require("digest"), _once(form)
        again = site.pages.path("/install", document=document)
        site.forms.check(form.get("form"), APPROVE, site.secret(request), _about(document, shown, once), again=again)
        session = await self._administrator(request, INSTALL, document)
        if not isinstance(session, SessionRow):
            return session
        if _decision(form, "install") == "leave":
            return site.pages.see("/account", done="not-installed")
        try:
            found = await site.installing.install(session, document, shown, once)
        except SignInAgain:
            return self._sign_in(INSTALL, document)
        except Refusal as refusal:
            if refusal.code == "document_changed":
                return await self._offer(request, session, document, changed=True)
            raise _seen(refusal) from None
        about = found.application
        installed = Installed(about.client_id, about.settings.display_name, found.initiate_login_uri)
        return site.pages.see("/install/done", installed=site.seals.seal_installed(installed))

    async def done(self, request: Request) -> Response:
        """GET /install/done."""
        site = self._site
        if await site.session(request) is None:
            return site.pages.see("/signin")
        installed = site.seals.open_installed(query(request, "installed"))
        fields = {
            "application": installed.display_name,
            "client_id": installed.client_id,
            "go_on": self._go_on(installed),
            "issuer": site.pages.address,
            "uninstall": site.pages.path("/uninstall", client_id=installed.client_id),
        }
        return site.pages.render("installed.html", fields)

    async def uninstall_page(self, request: Request) -> Response:
        """GET /uninstall."""
        site = self._site
        client_id = _named(query(request, "client_id"), "the link names no application")
        session = await self._administrator(request, UNINSTALL, client_id, fresh_for_a_form=True)
        if not isinstance(session, SessionRow):
            return session
        found = await self._asked(site.installing.read_installed(session, client_id), UNINSTALL, client_id)
        if not isinstance(found, pb.ReadInstalledResponse):
            return found
        known, once = found.application, uuid4()
        fields = {
            "application": known.settings.display_name,
            "client_id": known.client_id,
            "document": known.document,
            "people": await site.consents.count(known.client_id),
            "by_itself": "client_credentials" in known.settings.grants,
            "abilities": list(found.scopes),
            "hidden": {
                "client_id": client_id,
                "once": str(once),
                "form": site.forms.token(END, site.secret(request), _about(client_id, once)),
            },
        }
        return site.pages.render("uninstall.html", fields)

    async def uninstall(self, request: Request) -> Response:
        """POST /uninstall."""
        site = self._site
        form = await site.forms.read(request)
        client_id, once = form.require("client_id"), _once(form)
        again = site.pages.path("/uninstall", client_id=client_id)
        site.forms.check(form.get("form"), END, site.secret(request), _about(client_id, once), again=again)
        session = await self._administrator(request, UNINSTALL, client_id)
        if not isinstance(session, SessionRow):
            return session
        if _decision(form, "uninstall") == "leave":
            return site.pages.see("/account", done="not-uninstalled")
        ended = await self._asked(site.installing.uninstall(session, client_id, once), UNINSTALL, client_id)
        return ended or site.pages.see("/account", done="uninstalled")

    async def _offer(self, request: Request, session: SessionRow, document: str, *, changed: bool = False) -> Response:
        site = self._site
        found = await self._asked(site.installing.read(session, document), INSTALL, document)
        if not isinstance(found, pb.ReadDocumentResponse):
            return found
        once = uuid4()
        bound = _about(document, found.digest, once)
        fields = {
            **_described(found),
            "document": document,
            "digest": found.digest,
            "changed": changed,
            "hidden": {
                "document": document,
                "digest": found.digest,
                "once": str(once),
                "form": site.forms.token(APPROVE, site.secret(request), bound),
            },
        }
        return site.pages.render("install.html", fields, status=409 if changed else 200)

    async def _administrator(
        self, request: Request, then: str, about: str, *, fresh_for_a_form: bool = False
    ) -> SessionRow | Response:
        """The session of an administrator who has just proved to be one; or the way to sign in. Raises `Refusal`."""
        site = self._site
        session = await site.session(request)
        left = FILLING_IN if fresh_for_a_form else timedelta()
        if session is None or not proved_recently(session.auth_time, site.clock(), left):
            return self._sign_in(then, about)
        if Role.ADMINISTRATOR.value not in session.user.roles:
            raise LinkRefused(
                Kind.FORBIDDEN,
                "not_administrator",
                "Only an administrator of this instance can do this. If you are one, sign in with that account.",
                heading="This is for administrators",
                way=("Sign in with another account", site.pages.path("/signin", then=then_about(then, about))),
            )
        return session

    async def _asked(self, asking: Awaitable[T], then: str, about: str) -> T | Response:
        """The registry's answer; or the way to sign in, where the issuer wants that."""
        try:
            return await asking
        except SignInAgain:
            return self._sign_in(then, about)
        except Refusal as refusal:
            raise _seen(refusal) from None

    def _sign_in(self, then: str, about: str) -> Response:
        return self._site.pages.see("/signin", then=then_about(then, about))

    def _go_on(self, installed: Installed) -> str:
        """Where the vendor goes on (OpenID Connect Core section 4): it is told by whom, and what it is called here."""
        start = installed.initiate_login_uri
        if not start:
            return ""
        said = urlencode({"iss": self._site.pages.address, "client_id": installed.client_id})
        return f"{start}{'&' if '?' in start else '?'}{said}"


def _described(found: pb.ReadDocumentResponse) -> dict[str, object]:
    settings: registry_pb2.ApplicationSettings = found.settings
    grants = set(settings.grants)
    return {
        "application": settings.display_name,
        "publisher": found.host,
        "client_id": found.client_id,
        "contact": settings.contact,
        "kind": _KINDS[settings.type],
        "ways": [words for grant, words in _WAYS.items() if grant in grants],
        "by_people": bool(grants & _BY_PEOPLE),
        "by_itself": "client_credentials" in grants,
        "abilities": list(found.scopes),
        "addresses": [
            (heading, list(addresses))
            for heading, addresses in (
                ("After sign-in people are sent to", settings.redirect_uris),
                ("After signing out, to", settings.post_logout_redirect_uris),
                ("It is told of sign-outs at", [settings.backchannel_logout_uri]),
                ("Its keys are at", [settings.jwks_uri]),
            )
            if any(addresses)
        ],
    }


def _seen(refusal: Refusal) -> Refusal:
    """A refusal of the registry's, as the page says it."""
    if isinstance(refusal, Unavailable | TooManyRequests) or refusal.code in ("access_denied", "session_over"):
        return refusal
    return LinkRefused(
        refusal.kind,
        refusal.code,
        "Nothing was changed. If a link of an application's vendor led you here, the vendor can put it right.",
        heading="This did not work",
        detail=refusal.message,
    )


def _named(value: str | None, wrong: str) -> str:
    if not value or len(value) > _LONGEST:
        raise invalid_request(wrong)
    return value


def _about(*parts: object) -> str:
    """What a form is bound to: none of its parts can run into another."""
    return " ".join(digest(str(part)) for part in parts)


def _decision(form: Params, yes: str) -> str:
    decision = form.get("decision")
    if decision not in (yes, "leave"):
        raise invalid_request("the answer is to go on, or to leave it")
    return decision


def _once(form: Params) -> UUID:
    try:
        return UUID(form.require("once"))
    except ValueError:
        raise invalid_request("the form is not one of ours") from None
