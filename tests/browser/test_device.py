"""Freddie lets a device in, with a telephone (RFC 8628 section 3.3)."""

from pathlib import Path
from urllib.parse import quote_plus

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from infra.local.system import System

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CLIENT_ID = "com.backstagehub/app"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


class Television:
    """A device with the application on it."""

    def __init__(self, system: System, http: httpx.AsyncClient) -> None:
        self._issuer = system.ports.issuer
        self._http = http
        hub = next(one for one in system.demo["applications"] if one["client_id"] == CLIENT_ID)
        self._auth = httpx.BasicAuth(quote_plus(CLIENT_ID), hub["client_secret"])

    async def ask(self) -> dict[str, str]:
        answer = await self._http.post(f"{self._issuer}/connect/device", data={"scope": "openid read"}, auth=self._auth)
        return dict(answer.json())

    async def poll(self, told: dict[str, str]) -> str:
        form = {"grant_type": DEVICE, "device_code": told["device_code"]}
        answer = await self._http.post(f"{self._issuer}/connect/token", data=form, auth=self._auth)
        return str(answer.json().get("error", "tokens"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_freddie_lets_a_device_in(system: System, chromium: Browser, screenshots: Path, scheme: str) -> None:
    context = await chromium.new_context(
        viewport={"width": 390, "height": 844},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=False,
    )
    page = await context.new_page()

    async def shot(name: str) -> None:
        await page.screenshot(path=screenshots / f"device-{scheme}-{name}.png", full_page=True)
        # Nothing is wider than a telephone.
        assert (await page.locator("main").bounding_box() or {"width": 999})["width"] <= 390

    async with httpx.AsyncClient(trust_env=False) as http:
        television = Television(system, http)
        told = await television.ask()
        await page.goto(told["verification_uri"])
        await expect(page.get_by_label("Code")).to_be_focused()
        await shot("1-code")
        await page.get_by_label("Code").fill("bbbb bbbb")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("not known")
        await expect(page.get_by_label("Code")).to_have_attribute("aria-invalid", "true")
        await shot("2-unknown")
        await page.get_by_label("Code").fill(told["user_code"].lower().replace("-", " "))
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_label("Password")).to_be_visible()
        await shot("3-sign-in")
        await _sign_in(page)
        await expect(page.get_by_role("heading", name="Allow BackstageHub?")).to_be_visible()
        await expect(page.get_by_text(told["user_code"])).to_be_visible()
        await expect(page.get_by_role("button", name="Allow")).to_have_accessible_description(_compare(told))
        await shot("4-allow")
        assert await television.poll(told) == "authorization_pending"
        await page.get_by_role("button", name="Allow").click()
        await expect(page.get_by_role("heading", name="You may go back to your device")).to_be_visible()
        await shot("5-done")
        assert await television.poll(told) == "tokens"

        # By the link, whose code stands there already; and this time it is a no.
        told = await television.ask()
        await page.goto(told["verification_uri_complete"])
        await expect(page.get_by_label("Code")).to_have_value(told["user_code"])
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_text(told["user_code"])).to_be_visible()
        await page.get_by_role("button", name="Deny").click()
        await expect(page.get_by_role("heading", name="The device got nothing")).to_be_visible()
        await shot("6-refused")
        assert await television.poll(told) == "access_denied"
    await context.close()


async def _sign_in(page: Page) -> None:
    await page.get_by_label("Name").fill("freddie")
    await page.get_by_label("Password").fill("a-kind-of-magic-1986")
    await page.get_by_role("button", name="Sign in", exact=True).click()


def _compare(told: dict[str, str]) -> str:
    return (
        f"{told['user_code']} Is it the code on your own device, in front of you? If it is not, or if somebody sent you"
        " the code or a link with it, deny: whoever has that device would act in your name."
    )
