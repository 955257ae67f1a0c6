"""A second factor in a real browser, without a script: set up, signed in with, and looked at."""

import time
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from infra.local.system import System
from tests.support.second_factor import code_of, typed

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PASSWORD = "a-kind-of-magic-1986"


async def _context(chromium: Browser, **options: Any) -> BrowserContext:
    return await chromium.new_context(java_script_enabled=False, **options)


async def _password(page: Page) -> None:
    await page.get_by_label("Name").fill("freddie")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def test_freddie_sets_it_up_and_signs_in_with_it(  # noqa: PLR0915  (one story)
    system: System, chromium: Browser, screenshots: Path
) -> None:
    context = await _context(chromium)
    page = await context.new_page()
    refusals: list[str] = []

    def listen(one: Page) -> None:
        one.on("console", lambda message: refusals.append(message.text) if message.type == "error" else None)

    listen(page)

    async def shot(name: str, one: Page) -> None:
        assert await one.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        await one.screenshot(path=screenshots / f"second-factor-{name}.png", full_page=True)

    await page.goto(f"{system.ports.issuer}/account")
    await _password(page)
    await page.get_by_role("link", name="Second factor: off").click()
    await expect(page.get_by_role("button", name="Set it up")).to_be_visible()
    await shot("1-off", page)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Set it up").click()
    await expect(page.get_by_role("img", name="The key as a QR code")).to_be_visible()
    seed = typed(await page.locator("#seed").inner_text())
    await page.set_viewport_size({"width": 360, "height": 720})
    await shot("2-seed-telephone", page)
    await page.emulate_media(color_scheme="dark")
    await shot("3-seed-dark", page)
    await page.get_by_label("Code that the app shows now").fill("000000")
    await page.get_by_role("button", name="Turn it on").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    used = int(time.time()) // 30
    await page.get_by_label("Code that the app shows now").fill(code_of(seed, used))
    await page.get_by_role("button", name="Turn it on").click()
    await expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    codes = await page.locator(".codes code").all_inner_texts()
    assert len(codes) == 10
    await shot("4-recovery-codes-dark", page)
    await page.get_by_role("link", name="I have written them down").click()
    await page.get_by_role("link", name="Second factor: on").click()
    await expect(page.get_by_text("You have 10 left.")).to_be_visible()
    await shot("5-on-dark", page)
    await page.emulate_media(color_scheme="light")
    await shot("6-on-telephone", page)

    # On another device, with the code of the next step, which counts already.
    other = await _context(chromium, viewport={"width": 360, "height": 720})
    telephone = await other.new_page()
    listen(telephone)
    await telephone.goto(f"http://localhost:{system.ports.backstagehub}")
    await telephone.get_by_role("link", name="Sign in").first.click()
    await _password(telephone)
    await expect(telephone.get_by_role("heading", name="Enter the code")).to_be_visible()
    await shot("7-code-telephone", telephone)
    await telephone.get_by_label("Code").fill(code_of(seed, used))
    await telephone.get_by_role("button", name="Go on").click()
    await expect(telephone.get_by_role("alert")).to_contain_text("used before")
    await shot("8-code-used", telephone)
    await telephone.get_by_label("Code").fill(code_of(seed, max(used + 1, int(time.time()) // 30)))
    await telephone.get_by_role("button", name="Go on").click()
    await telephone.get_by_role("button", name="Allow").click()
    await expect(telephone.get_by_role("heading", name="Freddie")).to_be_visible()

    # And on a third one with a recovery code, in the dark.
    third = await _context(chromium, color_scheme="dark")
    page = await third.new_page()
    listen(page)
    await page.goto(f"{system.ports.issuer}/account")
    await _password(page)
    await page.get_by_role("link", name="Use a recovery code instead").click()
    await expect(page.get_by_role("heading", name="Use a recovery code")).to_be_visible()
    await shot("9-recovery-code-dark", page)
    await page.get_by_label("Recovery code").fill(codes[0])
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    await page.get_by_role("link", name="Second factor: on").click()
    await expect(page.get_by_text("You have 9 left.")).to_be_visible()

    # Off again, with another one.
    off = page.locator("form", has=page.get_by_role("button", name="Turn it off"))
    await off.get_by_label("Password").fill(PASSWORD)
    await off.get_by_label("Code of your app").fill(codes[1])
    await off.get_by_role("button", name="Turn it off").click()
    await expect(page.get_by_text("The second factor is off.")).to_be_visible()
    # What the pages' own policy refuses would be told there; a wrong code is answered with a status that is told, too.
    assert [one for one in refusals if "422" not in one] == []
    for one in (context, other, third):
        await one.close()
