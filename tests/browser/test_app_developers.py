"""The single-page application of `docs/app-developers.md`, in a real browser."""

import shlex
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from infra.local.system import System
from tests.support.command import stagedoor
from tests.support.documented import block
from tests.support.one_page import one_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CLIENT_ID = "com.example/spa"
WRITTEN = "http://localhost:8001/"


@pytest_asyncio.fixture(loop_scope="session")
async def page_at(system: System) -> AsyncIterator[str]:
    """The page as it stands there, but for the issuer that one puts in, and for a port that is this test's."""
    address = f"http://localhost:{system.ports.spa}/"
    content = block("html", CLIENT_ID).replace('"ISSUER"', f'"{system.ports.issuer}"').replace(WRITTEN, address)

    async with one_page(system.ports.spa, content):
        yield address


async def test_a_single_page_application(system: System, chromium: Browser, page_at: str) -> None:
    command = block("sh", CLIENT_ID).replace(WRITTEN, page_at)
    program, *arguments = shlex.split(command)
    assert program == "stagedoor"
    await stagedoor(system, *arguments)
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(page_at)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_label("Name").fill("freddie")
    await page.get_by_label("Password").fill("a-kind-of-magic-1986")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_role("button", name="Allow").click()
    await expect(page.get_by_text("Hello, Freddie")).to_be_visible()
    assert page.url == page_at
    assert await page.evaluate("[sessionStorage.length, localStorage.length]") == [0, 0]
    await context.close()


_POST = """([address, form]) =>
  fetch(address, { method: "POST", body: new URLSearchParams(form) }).then((answer) => answer.status, () => "closed")"""


async def test_what_a_page_may_call(system: System, chromium: Browser) -> None:
    """By a browser's own rules, from an origin that nobody registered: whoever calls proves nothing by cookies."""
    connect = f"{system.ports.issuer}/connect"
    (spa,) = [one for one in system.demo["applications"] if one["client_id"] == "com.roadie/spa"]
    pushed = {
        "client_id": spa["client_id"],
        "response_type": "code",
        "redirect_uri": spa["redirect_uris"][0],
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }
    token = {"client_id": spa["client_id"], "token": "made-up"}
    async with one_page(system.ports.spa, "<!doctype html><title>A page</title>"):
        context = await chromium.new_context()
        page = await context.new_page()
        await page.goto(f"http://localhost:{system.ports.spa}/")
        assert await page.evaluate(_POST, [f"{connect}/par", pushed]) == 201
        assert await page.evaluate(_POST, [f"{connect}/revocation", token]) == 200
        assert await page.evaluate(_POST, [f"{connect}/introspect", token]) == "closed"
        assert await page.evaluate(_POST, [f"{connect}/authorize", pushed]) == "closed"
        await context.close()
