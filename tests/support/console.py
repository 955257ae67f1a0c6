"""The administrators' console of a running system, and people in front of it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urljoin

import httpx
import pytest_asyncio

from infra.local.process import until
from infra.local.sign_in import Visitor
from infra.local.system import System
from tests.support.browsing import Form, Page

BRIAN = ("brian", "red-special-1963")
AUDITOR = ("auditor", "under-pressure-1981")
FREDDIE = ("freddie", "a-kind-of-magic-1986")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def console(system: System) -> str:
    """The console's address; it runs from the first test on that asks for it."""
    return await started(system)


async def started(system: System) -> str:
    """Start the console of a system, and wait until people can sign in at it; answers its address."""
    await system.start_part("console")
    address = f"{system.ports.origin}/console"

    async def ready() -> bool:
        """The registry trusts it, and the issuer has heard of that."""
        async with httpx.AsyncClient(trust_env=False, verify=system.trust()) as client:
            try:
                if not (await client.get(f"http://127.0.0.1:{system.ports.console}/readyz")).is_success:
                    return False
                begun = await client.get(address)
                return (await client.get(begun.headers["location"])).is_redirect
            except httpx.HTTPError:
                return False

    assert await until(ready, 60, every=0.2), system.part("console").last_words()
    return address


class Desk:
    """Somebody with a browser."""

    def __init__(self, console: str, visitor: Visitor) -> None:
        self.console = console
        self.visitor = visitor
        self.browser = visitor.browser

    async def sign_in(self, path: str = "") -> Page:
        """By the page at this path, to wherever that leads."""
        back = await self.visitor.go(f"{self.console}{path}", until=f"{self.console}/callback")
        return await self.follow(await self.once("GET", back))

    async def once(self, method: str, path: str, **options: object) -> Page:
        """One request, one answer."""
        address = path if path.startswith("http") else f"{self.console}{path}"
        return Page(await self.browser.request(method, address, **options))  # type: ignore[arg-type]  # as they come

    async def get(self, path: str) -> Page:
        """A page, wherever it leads: also to the issuer and back, where a session stands there."""
        return await self.follow(await self.once("GET", path))

    async def follow(self, page: Page) -> Page:
        """Where an answer leads in the end."""
        for _ in range(12):
            if page.status not in {302, 303}:
                return page
            page = await self.once("GET", urljoin(page.url, page.location))
        raise AssertionError("the pages go round in circles")

    async def press(self, page: Page, path: str, **fields: str) -> Page:
        """Send the first form of a page that goes to this path of the console, with these fields."""
        return await self.follow(await self.press_once(page, path, **fields))

    async def press_once(self, page: Page, path: str, **fields: str) -> Page:
        """The same, but the answer itself."""
        form = form_to(page, path)
        return await self.once("POST", urljoin(page.url, form.action), data={**form.fields, **fields})

    @property
    def cookies(self) -> dict[str, str]:
        """What the browser holds for the console."""
        return {one.name: one.value or "" for one in self.browser.cookies.jar if one.path == "/console"}


def form_to(page: Page, path: str) -> Form:
    """The first form of a page that goes to a path of the console."""
    return next(form for form in page.forms if form.action.endswith(f"/console{path}") and form.method == "post")


@asynccontextmanager
async def desk(console: str, who: tuple[str, str], trust: ssl.SSLContext | None = None) -> AsyncIterator[Desk]:
    """Somebody who has not signed in yet."""
    async with Visitor(*who, trust) as visitor:
        yield Desk(console, visitor)


class Someone:
    """A person of the test's own, whom Brian adds at the console."""

    def __init__(self, name: str, sub: str, password: str) -> None:
        self.name, self.sub, self.password = name, sub, password

    @property
    def who(self) -> tuple[str, str]:
        """To sign in with."""
        return self.name, self.password

    @classmethod
    async def added(cls, brian: Desk, name: str, *roles: str) -> Self:
        """With these roles."""
        password = f"{name}-enters-1985"
        fields = {"user_name": name, "kind": "internal", "password": password}
        page = await brian.press(
            await brian.get("/users/add"), "/users/add", **fields, **{f"roles:{role}": "yes" for role in roles}
        )
        assert "The user is added." in page.text
        return cls(name, page.url.partition("id=")[2].partition("&")[0], password)
