"""An install link in a real browser, without a script: read, approved, gone on from, and its end."""

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from infra.local.system import System
from tests.support.documents import JSON, vendor

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SETLIST = "example.setlist/app"


async def _overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    size = await page.locator("html").evaluate("html => html.scrollWidth - html.clientWidth")
    return int(size)


async def test_an_administrator_installs_and_uninstalls(system: System, chromium: Browser, screenshots: Path) -> None:
    context = await chromium.new_context(java_script_enabled=False)
    page = await context.new_page()
    refusals: list[str] = []
    page.on("console", lambda message: refusals.append(message.text) if message.type == "error" else None)

    async def shot(name: str) -> None:
        await page.screenshot(path=screenshots / f"install-{name}.png", full_page=True)

    async with vendor() as by:
        begin = by.document.replace("/keys", "/begin")
        by.describe(SETLIST, initiate_login_uri=begin, contacts=["help@setlist.example"], scope="openid read update")
        await page.goto(f"{system.ports.issuer}/install?document={by.document}")
        await page.get_by_label("Name").fill("brian")
        await page.get_by_label("Password").fill("red-special-1963")
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_role("heading", name="Install Setlist?")).to_be_visible()
        install = page.get_by_role("button", name="Install", exact=True)
        await expect(install).to_have_accessible_description(
            re.compile("Everything below is what 127.0.0.1 says of it")
        )
        await expect(page.get_by_text("see your tours and merchandise")).to_be_visible()
        await expect(page.locator("footer")).to_have_text(f"You are at 127.0.0.1:{system.ports.door}")
        await shot("1-asked")
        await page.set_viewport_size({"width": 360, "height": 780})
        await page.emulate_media(color_scheme="dark")
        await shot("2-narrow")
        overflow = await _overflow(page)
        assert overflow <= 0, f"the page is {overflow} pixels wider than the telephone"

        # What is changed now is not what was looked at.
        described = json.loads(by.web.body) | {"client_name": "Setlist Maker"}
        by.web.answer(200, json.dumps(described).encode(), JSON)
        await install.click()
        await expect(page.get_by_role("alert")).to_contain_text("changed since you looked at it")
        await expect(page.get_by_role("heading", name="Install Setlist Maker?")).to_be_visible()
        # It is an error to the browser, too, for no more than that.
        assert [one for one in refusals if "409" not in one] == []
        await shot("3-changed")
        await install.click()
        await expect(page.get_by_role("heading", name="Setlist Maker is installed")).to_be_visible()
        await shot("4-installed")
        onward = page.get_by_role("link", name="Go on to Setlist Maker")
        await expect(onward).to_have_attribute("href", re.compile(f"^{re.escape(begin)}\\?iss="))

        await page.get_by_role("link", name="uninstall it").click()
        await expect(page.get_by_role("heading", name="Uninstall Setlist Maker?")).to_be_visible()
        await shot("5-ending")
        assert await _overflow(page) <= 0
        await page.get_by_role("button", name="Uninstall for ever").click()
        await expect(page.get_by_text("The application is uninstalled.")).to_be_visible()
        # Its link does nothing more.
        await page.goto(f"{system.ports.issuer}/install?document={by.document}")
        await expect(page.get_by_text("names are never reused")).to_be_visible()
    await context.close()
