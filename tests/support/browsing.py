"""A browser for tests of the pages, with cookies and forms and without a window."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx


@dataclass
class Form:
    """A form of a page, as it would be sent; its buttons are for the test to press."""

    action: str = ""
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)
    buttons: set[tuple[str, str]] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self._within_a_sentence = False
        self.forms: list[Form] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self._menu = ""
        self._area = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._within_a_sentence = tag == "bdi"
        self.attributes.append((tag, given))
        if tag == "form":
            self.forms.append(Form(given["action"], given["method"]))
        if tag == "input" and (given["type"] not in ("checkbox", "radio") or "checked" in given):
            self.forms[-1].fields[given["name"]] = given.get("value", "")
        if tag == "select":
            self._menu = given["name"]
        if tag == "option" and "value" in given and ("selected" in given or self._menu not in self.forms[-1].fields):
            self.forms[-1].fields[self._menu] = given["value"]
        if tag == "textarea":
            self._area = given["name"]
            self.forms[-1].fields[self._area] = ""
        if tag == "button" and "name" in given:
            self.forms[-1].buttons.add((given["name"], given["value"]))
        if tag == "a":
            self.links.append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        self._within_a_sentence = tag == "bdi"
        if tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.forms[-1].fields[self._area] += data.removeprefix("\n")
        if self._within_a_sentence and self.text:
            self.text[-1] += data
        else:
            self.text.append(data)


class Page:
    """An answer."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.headers = response.headers
        reader = _Reader()
        if response.headers.get("content-type", "").startswith("text/html"):
            reader.feed(response.text)
        self.forms = reader.forms
        self.form = reader.forms[-1] if reader.forms else Form()
        """The last one; most pages have no other."""
        self.links = reader.links
        self.text = " ".join(" ".join(reader.text).split())
        self.tags = reader.attributes

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self.response.url)

    @property
    def path(self) -> str:
        """The path of that."""
        return urlsplit(self.url).path

    @property
    def location(self) -> str:
        """Where it leads to."""
        return self.headers["location"]

    @property
    def answer(self) -> dict[str, str]:
        """The parameters in the address that it leads to."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.location).query).items()}


class Browser:
    """Follows redirects within the site, and stops at those that leave it."""

    def __init__(self, app: Any, base: str, address: str = "192.0.2.7") -> None:
        self.base = base
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 40000))
        self.client = httpx.AsyncClient(transport=transport, headers={"x-forwarded-for": address})

    async def send(self, method: str, url: str, **options: Any) -> Page:
        """One request, one answer."""
        return Page(await self.client.request(method, urljoin(self.base + "/", url), **options))

    async def get(self, url: str, **options: Any) -> Page:
        """One page, wherever it leads within the site."""
        return await self._follow(await self.send("GET", url, **options))

    async def submit(self, page: Page, /, **fields: str) -> Page:
        """Send the form of a page, with these fields filled in or buttons pressed."""
        return await self._follow(await self.submit_once(page, **fields))

    async def submit_once(self, page: Page, /, **fields: str) -> Page:
        """The same, but the answer itself."""
        return await self.press(page, page.form, **fields)

    async def press(self, page: Page, form: Form, /, **fields: str) -> Page:
        """Send one of a page's forms."""
        target = urljoin(page.url, form.action)
        return await self.send(form.method.upper(), target, data={**form.fields, **fields})

    async def follow(self, page: Page) -> Page:
        """Where an answer leads within the site."""
        return await self._follow(page)

    async def _follow(self, page: Page) -> Page:
        for _ in range(10):
            if page.status not in (302, 303) or not urljoin(page.url, page.location).startswith(self.base):
                return page
            page = await self.send("GET", urljoin(page.url, page.location))
        raise AssertionError("the pages go round in circles")

    def cookies(self) -> dict[str, str]:
        """What it holds."""
        return {cookie.name: cookie.value or "" for cookie in self.client.cookies.jar}
