"""The administrators' console in a real browser: without a script, and with the one of the live log."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from infra.local.system import System
from tests.support.system import running_system

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def system() -> AsyncIterator[System]:
    """With the console."""
    async with running_system(console=True) as running:
        yield running


async def _brian(system: System, chromium: Browser, **options: Any) -> tuple[BrowserContext, Page, list[str]]:
    """Signed in at the console; and what the browser complains of."""
    context = await chromium.new_context(**options)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    await page.goto(f"{system.ports.origin}/console")
    await page.get_by_label("Name").fill("brian")
    await page.get_by_label("Password").fill("red-special-1963")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_role("heading", name=re.compile("^The administrators"))).to_be_visible()
    return context, page, complaints


async def test_brian_registers_and_stops_an_application_without_a_script(
    system: System, chromium: Browser, screenshots: Path
) -> None:
    context, page, complaints = await _brian(system, chromium, java_script_enabled=False)
    client_id = f"com.example/{uuid4().hex}"
    await page.get_by_role("navigation").get_by_role("link", name="Applications").click()
    await page.get_by_role("link", name="Register an application").click()
    await page.get_by_label("Its client_id").fill(client_id)
    await page.get_by_label("Name", exact=True).fill("Queue & Co.")
    await page.get_by_label("Redirect URIs", exact=True).fill("https://queue.example/cb\nhttps://queue.example/other")
    await page.get_by_label("Scopes").fill("read")
    await page.get_by_role("button", name="Register it").click()
    await expect(page.get_by_role("heading", name="The secret")).to_be_visible()
    secret = await page.locator("output").inner_text()
    assert secret not in page.url
    assert all(secret not in cookie["value"] for cookie in await context.cookies())
    await page.get_by_role("link", name="I have copied it").click()
    await expect(page.get_by_role("heading", name="Queue & Co.")).to_be_visible()
    await page.screenshot(path=screenshots / "console-application.png", full_page=True)
    await page.get_by_label("Reason").fill("gone on tour")
    await page.get_by_role("button", name="Disable").click()
    await expect(page.get_by_role("status")).to_contain_text("The application is disabled")
    await page.get_by_role("link", name="In the log").click()
    await expect(page.get_by_text("registry.ApplicationDisabled")).to_be_visible()
    await page.set_viewport_size({"width": 360, "height": 780})
    await page.emulate_media(color_scheme="dark")
    session = await context.new_cdp_session(page)
    for path in ("", "/applications", f"/applications/show?id={client_id}", "/users", "/tokens", "/keys", "/log"):
        await page.goto(f"{system.ports.origin}/console{path}")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        metrics = await session.send("Page.getLayoutMetrics")
        assert metrics["cssContentSize"]["width"] <= metrics["cssLayoutViewport"]["clientWidth"], path
    await page.screenshot(path=screenshots / "console-narrow-dark.png", full_page=True)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    assert not [text for text in complaints if "Content Security Policy" in text or "Content-Security-Policy" in text]
    await context.close()


async def test_the_log_appears_as_it_grows(system: System, chromium: Browser, screenshots: Path) -> None:
    context, page, complaints = await _brian(system, chromium)
    await page.goto(f"{system.ports.origin}/console/log/live")
    await expect(page.get_by_role("status")).to_have_text("Following.")
    other = await context.new_page()
    await other.goto(f"{system.ports.origin}/console/applications/show?id=com.setlist/app")
    await other.get_by_label("Reason").fill("<img src=x onerror=alert(1)>")
    await other.get_by_role("button", name="Disable").click()
    await expect(other.get_by_role("status")).to_contain_text("The application is disabled")
    first = page.get_by_role("log").get_by_role("listitem").filter(has_text="registry.ApplicationDisabled")
    await expect(first).to_be_visible()
    await first.get_by_text("What it says").click()
    await expect(first).to_contain_text("<img src=x onerror=alert(1)>")
    await page.screenshot(path=screenshots / "console-live.png", full_page=True)
    # Signed out elsewhere, it ends by itself and says so.
    await other.get_by_role("button", name="Sign out").click()
    await expect(other.get_by_role("heading", name="You are signed out")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text(re.compile("^It has ended"), timeout=15_000)
    assert not [text for text in complaints if "Content Security Policy" in text or "Content-Security-Policy" in text]
    await context.close()
