"""Signing in as a person would, without a window: the pages are fetched, their forms filled in and sent.

The demo is set up by this, and tests and the story use it, so the pages are always part of what is tried.
"""

import hashlib
import secrets
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx

from infra.local.failure import SystemFailure

_STEPS = 12
"""More pages and redirects than this are a circle."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a page."""

    action: str
    fields: dict[str, str]
    """What it would send as it stands, but for its buttons."""
    buttons: dict[str, list[str]]
    """Names of its buttons, and their values."""


class _Forms(HTMLParser):
    """Finds the forms of a page, and what its alerts say."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._inside = False
        self.alert = ""
        self._in_alert = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note forms, their fields and buttons."""
        given = {name: value or "" for name, value in attrs}
        self._in_alert = given.get("role") == "alert"
        if tag == "form":
            self._inside = True
            self.found.append(Form(given.get("action", ""), {}, {}))
        elif self._inside and tag == "input" and "name" in given:
            self.found[-1].fields[given["name"]] = given.get("value", "")
        elif self._inside and tag == "button" and "name" in given:
            self.found[-1].buttons.setdefault(given["name"], []).append(given.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        """Leave a form."""
        self._in_alert = False
        if tag == "form":
            self._inside = False

    def handle_data(self, data: str) -> None:
        """Collect what an alert says."""
        if self._in_alert:
            self.alert += data


class Visitor:
    """A person with a browser of their own: cookies are kept from page to page."""

    def __init__(self, user_name: str, password: str, trust: ssl.SSLContext | None = None) -> None:
        """`trust`: whose certificates are good; those of the authorities that everybody knows, if it is not given."""
        self.user_name = user_name
        self._password = password
        self.browser = httpx.AsyncClient(trust_env=False, timeout=30, verify=trust or True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.browser.aclose()

    async def go(self, address: str, *, until: str = "", allow: bool = True) -> str:
        """Follow an application's link to the issuer, sign in and consent where asked; answers where it leads back to.

        That address is not fetched. It begins with `until`; usually with the redirect URI in the request itself. Not
        `allow`: the application is denied what it asks for. `SystemFailure` where the way ends elsewhere.
        """
        back = until or parse_qs(urlsplit(address).query)["redirect_uri"][0]
        answer = await self.browser.get(address)
        for _ in range(_STEPS):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["location"])
                if target.startswith(back):
                    return target
                answer = await self.browser.get(target)
                continue
            forms = _Forms()
            forms.feed(answer.text)
            form = self._filled(forms.found, allow=allow)
            if form is None or answer.is_error:
                raise SystemFailure(
                    f"signing in as {self.user_name} ended at {answer.url.path} ({answer.status_code})"
                    f": {' '.join(forms.alert.split())}"
                )
            # A browser says where a form was sent from.
            origin = "{0.scheme}://{0.netloc}".format(urlsplit(str(answer.url)))
            answer = await self.browser.post(
                urljoin(str(answer.url), form.action), data=form.fields, headers={"Origin": origin}
            )
        raise SystemFailure(f"signing in as {self.user_name} goes round in circles")

    async def let_in(self, address: str, *, allow: bool = True) -> None:
        """Follow the link that a device shows (RFC 8628 section 3.3.1), to the page that says that it is done."""
        await self.go(address, until=f"{address.partition('?')[0]}/done", allow=allow)

    def _filled(self, forms: list[Form], *, allow: bool) -> Form | None:
        """The form to send, filled in: to sign in, to consent, or to go on as things stand there."""
        for form in forms:
            if "password" in form.fields:
                fields = {**form.fields, "user_name": self.user_name, "password": self._password}
                return Form(form.action, {**fields, **_pressed(form, "sign_in")}, {})
            if form.fields.get("user_code"):
                return form
            if "decision" in form.buttons:
                return Form(form.action, {**form.fields, "decision": "allow" if allow else "deny"}, {})
            if form.action.endswith("/choose"):
                return form
        return None


def _pressed(form: Form, value: str) -> dict[str, str]:
    return {name: value for name, values in form.buttons.items() if value in values}


@dataclass(frozen=True, slots=True)
class CodeFlow:
    """One authorization code flow with PKCE (RFC 7636) as an application does it."""

    issuer: str
    client_id: str
    redirect_uri: str
    scope: str
    more: Mapping[str, str] = field(default_factory=dict)
    """Further parameters of the authorization request."""
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def address(self) -> str:
        """Where the browser is sent to."""
        challenge = urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        request = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self.scope,
            "state": self.state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **self.more,
        }
        return f"{self.issuer}/connect/authorize?{urlencode(request)}"

    def code(self, came_back_at: str) -> str:
        """The code in the address that the browser came back at; `SystemFailure` for an error or a wrong state."""
        answer = {name: values[0] for name, values in parse_qs(urlsplit(came_back_at).query).items()}
        if answer.get("state") != self.state or answer.get("iss", self.issuer) != self.issuer:
            raise SystemFailure("the answer to an authorization request belongs to another one")
        if "code" not in answer:
            raise SystemFailure(f"authorization was refused: {answer.get('error')} {answer.get('error_description')}")
        return answer["code"]

    async def redeem(
        self, code: str, *, client_secret: str | None = None, trust: ssl.SSLContext | None = None
    ) -> dict[str, object]:
        """The token endpoint's answer to a code; `trust` as a `Visitor` has it."""
        data = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
        }
        secret = httpx.BasicAuth(_form_encoded(self.client_id), client_secret) if client_secret is not None else None
        if secret is None:
            data["client_id"] = self.client_id
        async with httpx.AsyncClient(trust_env=False, timeout=30, auth=secret, verify=trust or True) as client:
            answer = await client.post(f"{self.issuer}/connect/token", data=data)
        if answer.is_error:
            raise SystemFailure(f"the token endpoint refuses ({answer.status_code}): {answer.text}")
        found: dict[str, object] = answer.json()
        return found


def _form_encoded(text: str) -> str:
    """As RFC 6749 section 2.3.1 wants names and secrets before they go into the header."""
    return urlencode({"": text})[1:]
