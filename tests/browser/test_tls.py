"""People in a real browser over https: cookies that only this host gets, no page that a browser warns of, passkeys."""

import os
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.async_api import Browser, Page, async_playwright, expect

from infra.local.certificates import Authority
from infra.local.system import System
from tests.browser.conftest import CHROMIUM, QUIET
from tests.support.system import running_system

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def secure() -> AsyncIterator[System]:
    async with running_system(tls=True) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def trusting(secure: System) -> AsyncIterator[Browser]:
    """A browser that believes the door's certificate, and no other that it does not know."""
    shown = x509.load_pem_x509_certificate(Authority(secure.home.certificates).door().certificate.read_bytes())
    key = shown.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    known = b64encode(sha256(key).digest()).decode()
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*QUIET, *root, f"--ignore-certificate-errors-spki-list={known}"]
        )
        yield browser
        await browser.close()


async def test_freddie_signs_in_and_out_over_https(secure: System, trusting: Browser, screenshots: Path) -> None:
    hub = f"http://localhost:{secure.ports.backstagehub}"
    context = await trusting.new_context()
    page = await context.new_page()
    spoken: list[str] = []
    page.on("console", lambda message: spoken.append(message.text) if message.type == "error" else None)
    await page.goto(hub)
    await page.get_by_role("link", name="Sign in").first.click()
    await expect(page).to_have_url(re.compile(f"^{re.escape(secure.ports.issuer)}/signin"))
    await page.screenshot(path=screenshots / "tls-1-sign-in.png", full_page=True)
    await page.get_by_label("Name").fill("freddie")
    await page.get_by_label("Password").fill("a-kind-of-magic-1986")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_role("button", name="Allow").click()
    await expect(page).to_have_url(re.compile(f"^{re.escape(hub)}"))
    await expect(page.get_by_text("Freddie").first).to_be_visible()
    await page.screenshot(path=screenshots / "tls-2-signed-in.png", full_page=True)

    ours = [cookie for cookie in await context.cookies(secure.ports.issuer) if "stagedoor" in cookie["name"]]
    assert {cookie["name"] for cookie in ours} >= {"__Host-stagedoor_session", "__Host-stagedoor_device"}
    assert all(cookie["secure"] and cookie["httpOnly"] and cookie["path"] == "/" for cookie in ours)
    assert all(cookie["sameSite"] == "Lax" for cookie in ours)

    await page.get_by_role("button", name="Sign out").first.click()
    await expect(page.get_by_text("signed out").first).to_be_visible()
    assert not spoken, spoken
    await context.close()


async def test_brian_adds_a_passkey_and_signs_in_with_it(  # noqa: PLR0915  (one story)
    secure: System, trusting: Browser, screenshots: Path
) -> None:
    """With an authenticator of the browser's own making."""
    hub = f"http://localhost:{secure.ports.backstagehub}"
    context = await trusting.new_context()
    page = await context.new_page()
    spoken: list[str] = []
    page.on("console", lambda message: spoken.append(message.text) if message.type == "error" else None)
    devices = await context.new_cdp_session(page)
    await devices.send("WebAuthn.enable")
    added = await devices.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})

    async def shot(name: str, one: Page) -> None:
        assert await one.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        await one.screenshot(path=screenshots / f"passkeys-{name}.png", full_page=True)

    await page.goto(f"{secure.ports.issuer}/account")
    await shot("1-sign-in", page)
    await page.get_by_label("Name").fill("brian")
    await page.get_by_label("Password").fill("red-special-1963")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_role("link", name="Passkeys").click()
    await expect(page.get_by_text("You have none.")).to_be_visible()
    await page.set_viewport_size({"width": 360, "height": 720})
    await shot("2-none-telephone", page)
    await page.get_by_label("Name").fill("My telephone")
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    await shot("3-recovery-codes-telephone", page)
    await page.get_by_role("link", name="I have written them down").click()
    await page.get_by_role("link", name="Passkeys").click()
    await expect(page.get_by_role("heading", name="My telephone")).to_be_visible()
    await page.emulate_media(color_scheme="dark")
    await shot("4-one-dark", page)
    kept = await devices.send("WebAuthn.getCredentials", {"authenticatorId": added["authenticatorId"]})
    assert [one["rpId"] for one in kept["credentials"]] == ["localhost"]

    # What changes them asks for a new sign-in, which is one touch now.
    await page.get_by_role("link", name="Sign in once more").click()
    await page.get_by_role("link", name="Sign in with a passkey").click()
    await expect(page.get_by_label("Name")).to_be_visible()
    await expect(page.get_by_role("button", name="Remove My telephone")).to_be_visible()
    await shot("5-changing-dark", page)
    await page.emulate_media(color_scheme="light")
    await shot("6-changing-telephone", page)

    # Signed out, and in at the application: without a name, without a password.
    await context.clear_cookies()
    await page.goto(hub)
    await page.get_by_role("link", name="Sign in").first.click()
    await expect(page).to_have_url(re.compile(f"^{re.escape(secure.ports.issuer)}/signin"))
    await shot("7-at-the-application-telephone", page)
    await page.get_by_role("link", name="Sign in with a passkey").click()
    await page.get_by_role("button", name="Allow").click()
    await expect(page.get_by_role("heading", name="Brian")).to_be_visible()

    # After the password; and where the person is not verified, nothing is used and the page says so.
    await context.clear_cookies()
    await devices.send(
        "WebAuthn.setUserVerified", {"authenticatorId": added["authenticatorId"], "isUserVerified": False}
    )
    await page.goto(f"{secure.ports.issuer}/account")
    await page.get_by_label("Name").fill("brian")
    await page.get_by_label("Password").fill("red-special-1963")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_role("alert").filter(has_text="No passkey was used.")).to_be_visible()
    await shot("8-refused-telephone", page)
    await devices.send(
        "WebAuthn.setUserVerified", {"authenticatorId": added["authenticatorId"], "isUserVerified": True}
    )
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    assert not spoken, spoken
    await context.close()
