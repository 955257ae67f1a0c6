"""Freddie in a real browser: signs in to BackstageHub, consents, sees his tours; Brian stops the app.

The app lives on another host name than the issuer, as in life, so a mistake with cookies shows.
"""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from infra.local.system import System
from tests.support.command import stagedoor
from tests.support.work import eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CLIENT_ID = "com.backstagehub/app"
FREDDIE = ("freddie", "a-kind-of-magic-1986")


async def _sign_in(page: Page) -> None:
    await page.get_by_label("Name").fill(FREDDIE[0])
    await page.get_by_label("Password").fill(FREDDIE[1])
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def test_freddie_signs_in_sees_his_tours_and_brian_stops_the_app(
    system: System, chromium: Browser, screenshots: Path
) -> None:
    hub = f"http://localhost:{system.ports.backstagehub}"
    context = await chromium.new_context()
    page = await context.new_page()
    spoken: list[str] = []
    page.on("console", lambda message: spoken.append(message.text) if message.type == "error" else None)

    async def shot(name: str) -> None:
        await page.screenshot(path=screenshots / f"{name}.png", full_page=True)

    await page.goto(hub)
    await shot("1-backstagehub")
    await page.get_by_role("link", name="Sign in").first.click()
    await expect(page).to_have_url(re.compile(f"^{re.escape(system.ports.issuer)}/signin"))
    await expect(page.get_by_text("BackstageHub").first).to_be_visible()
    await shot("2-sign-in")

    await page.get_by_label("Name").fill(FREDDIE[0])
    await page.get_by_label("Password").fill("not-my-password")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("not right")
    await shot("3-wrong-password")

    await _sign_in(page)
    await expect(page.get_by_role("heading", name="Allow BackstageHub?")).to_be_visible()
    await shot("4-consent")
    await page.get_by_role("button", name="Allow").click()

    await expect(page).to_have_url(re.compile(f"^{re.escape(hub)}"))
    await expect(page.get_by_text("Freddie").first).to_be_visible()
    await shot("5-signed-in")
    await page.get_by_label("Tour").fill("The Magic Tour")
    await page.get_by_label("Venue").fill("Wembley Stadium")
    await page.get_by_label("City").fill("London")
    await page.get_by_label("Date").fill("1986-07-12")
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_text("Wembley Stadium").first).to_be_visible()
    await shot("6-tours")

    try:
        await stagedoor(system, "apps", "disable", CLIENT_ID, "--reason", "gone on tour")

        async def refused() -> bool:
            await page.goto(hub)
            return await page.get_by_role("heading", name="Access refused").is_visible()

        await eventually(refused, 30)
        await shot("7-refused")
    finally:
        await stagedoor(system, "apps", "enable", CLIENT_ID)

    cookies = {cookie["name"]: cookie for cookie in await context.cookies(system.ports.issuer)}
    session = next(cookie for name, cookie in cookies.items() if name.endswith("stagedoor_session"))
    assert session["httpOnly"]
    assert session["sameSite"] == "Lax"
    assert not [text for text in spoken if "Content Security Policy" in text or "Content-Security-Policy" in text]
    await context.close()


async def test_signing_in_again_asks_nothing_and_signing_out_ends_the_session(
    system: System, chromium: Browser, screenshots: Path
) -> None:
    hub = f"http://localhost:{system.ports.backstagehub}"
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(hub)
    await page.get_by_role("link", name="Sign in").first.click()
    await _sign_in(page)
    allow = page.get_by_role("button", name="Allow")
    await expect(allow.or_(page.get_by_role("button", name="Sign out")).first).to_be_visible()
    if await allow.is_visible():
        await allow.click()
    await expect(page.get_by_text("Freddie").first).to_be_visible()

    await page.get_by_role("button", name="Sign out").first.click()
    await expect(page.get_by_text("signed out").first).to_be_visible()
    await page.screenshot(path=screenshots / "8-signed-out.png", full_page=True)

    await page.goto(hub)
    await page.get_by_role("link", name="Sign in").first.click()
    await expect(page.get_by_label("Password")).to_be_visible()
    await context.close()


async def test_signing_out_at_stagedoor_signs_out_of_the_application(
    system: System, chromium: Browser, screenshots: Path
) -> None:
    """BackstageHub does not take part: the issuer tells its server that the session has ended."""
    hub = f"http://localhost:{system.ports.backstagehub}"
    context = await chromium.new_context()
    app = await context.new_page()
    await app.goto(hub)
    await app.get_by_role("link", name="Sign in").first.click()
    await _sign_in(app)
    allow = app.get_by_role("button", name="Allow")
    await expect(allow.or_(app.get_by_role("button", name="Sign out")).first).to_be_visible()
    if await allow.is_visible():
        await allow.click()
    await expect(app.get_by_text("Freddie").first).to_be_visible()

    own = await context.new_page()
    await own.goto(f"{system.ports.issuer}/account")
    await own.get_by_role("link", name="Sign out").click()
    await expect(own.get_by_role("heading", name="Sign out?")).to_be_visible()
    await own.screenshot(path=screenshots / "10-sign-out.png", full_page=True)
    await own.get_by_role("button", name="Sign out").click()
    await expect(own.get_by_role("heading", name="You are signed out")).to_be_visible()

    async def is_a_stranger() -> bool:
        await app.goto(hub)
        return await app.get_by_role("link", name="Sign in with Stagedoor").is_visible()

    await eventually(is_a_stranger, 30)
    await app.screenshot(path=screenshots / "11-signed-out-by-stagedoor.png", full_page=True)
    await context.close()


async def test_an_unregistered_redirect_uri_is_an_error_page_and_no_redirect(
    system: System, chromium: Browser, screenshots: Path
) -> None:
    context = await chromium.new_context()
    page = await context.new_page()
    answer = await page.goto(
        f"{system.ports.issuer}/connect/authorize?response_type=code&client_id={CLIENT_ID}"
        "&redirect_uri=http://localhost:8480.evil.example/callback&scope=openid&state=x"
    )
    assert answer is not None
    assert answer.status == 400
    assert page.url.startswith(system.ports.issuer)
    await page.screenshot(path=screenshots / "9-error.png", full_page=True)
    await context.close()
