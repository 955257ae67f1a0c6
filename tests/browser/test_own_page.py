"""Freddie's own page in a real browser, without a script: what acts for him, where he is signed in, his tokens."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from infra.local.services import python_environment
from infra.local.system import System
from tests.support.work import eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HUB = "com.backstagehub/app"
LABEL = "The van's laptop"


async def _sign_in(page: Page) -> None:
    await page.get_by_label("Name").fill("freddie")
    await page.get_by_label("Password").fill("a-kind-of-magic-1986")
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def _context(chromium: Browser, **options: Any) -> BrowserContext:
    return await chromium.new_context(java_script_enabled=False, **options)


async def _validated(system: System, token: str) -> dict[str, Any]:
    """What a resource that asks is told about a token."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli.main", "tokens", "validate", "--token-file", "-", "--json"),
        env={**python_environment(), "STAGEDOOR_HOME": str(system.home.path)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(token.encode() + b"\n")
    answer: dict[str, Any] = json.loads(out)
    return answer


async def test_freddie_sees_and_stops_what_acts_for_him(  # noqa: PLR0915  (one story)
    system: System, chromium: Browser, screenshots: Path
) -> None:
    context = await _context(chromium)
    page = await context.new_page()
    refusals: list[str] = []
    page.on("console", lambda message: refusals.append(message.text) if message.type == "error" else None)

    async def shot(name: str) -> None:
        await page.screenshot(path=screenshots / f"account-{name}.png", full_page=True)

    await page.goto(f"{system.ports.issuer}/account")
    await _sign_in(page)
    await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    await expect(page.get_by_text("This one")).to_be_visible()
    await shot("1-nothing-yet")

    # BackstageHub is allowed in.
    await page.goto(f"http://localhost:{system.ports.backstagehub}")
    await page.get_by_role("link", name="Sign in").first.click()
    await page.get_by_role("button", name="Allow").click()
    await expect(page.get_by_text("Freddie").first).to_be_visible()

    # A second session, on a telephone.
    phone = await _context(chromium, user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1")
    other = await phone.new_page()
    await other.goto(f"{system.ports.issuer}/account")
    await _sign_in(other)
    await expect(other.get_by_role("heading", name="Your account")).to_be_visible()

    # A token.
    await page.goto(f"{system.ports.issuer}/account")
    await page.get_by_role("link", name="Make a token").click()
    await expect(page.get_by_role("heading", name="Make a token for BackstageHub")).to_be_visible()
    await page.get_by_label("Name").fill(LABEL)
    await page.get_by_label("It ends after").select_option("90")
    await shot("2-new-token")
    await page.get_by_role("button", name="Make the token").click()
    await expect(page.get_by_role("alert")).to_contain_text("Choose at least one thing")
    await shot("3-nothing-chosen")
    await page.get_by_label("see your tours and merchandise").check()
    await page.get_by_role("button", name="Make the token").click()
    await expect(page.get_by_role("heading", name="Your new token")).to_be_visible()
    token = await page.locator("output").inner_text()
    assert re.fullmatch(r"stagedoor_pat_[0-9A-Za-z]{49}", token)
    assert token not in page.url
    assert all(token not in cookie["value"] for cookie in await context.cookies())
    await shot("4-made")
    answer = await _validated(system, token)
    assert answer["allowed"]
    assert answer["claims"]["scope"] == "read"

    # Sent again, the form makes no second one, and shows nothing.
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("shown only once")
    assert token not in await page.content()

    await page.goto(f"{system.ports.issuer}/account")
    tokens = page.get_by_role("region", name="Personal access tokens")
    await expect(tokens.get_by_role("button", name="Revoke")).to_have_count(1)
    await expect(tokens.get_by_role("heading", name=LABEL)).to_be_visible()
    await expect(page.get_by_role("heading", name="Safari on an iPhone")).to_be_visible()
    await expect(page.get_by_text("change your tours and merchandise").first).to_be_visible()
    await shot("5-everything")
    await page.set_viewport_size({"width": 360, "height": 780})
    await shot("6-narrow")
    overflow = await _overflow(page)
    assert overflow <= 0, f"the page is {overflow} pixels wider than the telephone"
    await page.set_viewport_size({"width": 1280, "height": 720})
    await page.emulate_media(color_scheme="dark")
    await shot("7-dark")
    await page.emulate_media(color_scheme="light")

    # The telephone is lost.
    await page.get_by_role("button", name=re.compile("^End the session on Safari on an iPhone")).click()
    await expect(page.get_by_role("status")).to_contain_text("That session is over")
    await other.reload()
    await expect(other.get_by_label("Password")).to_be_visible()
    await phone.close()

    # The token goes.
    await page.get_by_role("button", name=f"Revoke {LABEL}").click()
    await expect(page.get_by_role("status")).to_contain_text("The token is revoked")
    await expect(tokens.get_by_text("You have none.")).to_be_visible()
    assert (await _validated(system, token))["reason"] == "denied_token"

    # And so does the application.
    await page.get_by_role("button", name="Stop BackstageHub").click()
    await expect(page.get_by_role("status")).to_contain_text("The application is stopped")
    await expect(page.get_by_text("No application acts for you.")).to_be_visible()
    await shot("8-stopped")

    async def refused() -> bool:
        await page.goto(f"http://localhost:{system.ports.backstagehub}/")
        return await page.get_by_role("heading", name="Access refused").is_visible()

    await eventually(refused, 30)
    assert not [text for text in refusals if "Content Security Policy" in text or "Content-Security-Policy" in text]
    await context.close()


async def _overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window. Measured from outside, since no script runs inside."""
    session = await page.context.new_cdp_session(page)
    metrics = await session.send("Page.getLayoutMetrics")
    return int(metrics["cssContentSize"]["width"]) - int(metrics["cssLayoutViewport"]["clientWidth"])


async def test_only_a_keyboard_is_needed(system: System, chromium: Browser) -> None:
    context = await _context(chromium)
    page = await context.new_page()
    await page.goto(f"{system.ports.issuer}/account")
    await _sign_in(page)
    await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    await page.goto(f"{system.ports.issuer}/account/tokens/new")
    await page.get_by_label("Name").focus()
    await page.keyboard.type("typed")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Your new token")).to_be_visible()
    await page.get_by_role("link", name="I have copied it").click()
    await page.get_by_role("button", name="Revoke typed").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("The token is revoked")
    await context.close()
