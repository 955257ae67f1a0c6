"""An answer that the browser posts (OAuth 2.0 Form Post Response Mode): by its script, and by a button without one."""

import base64
import hashlib
import re
import secrets
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from infra.local.system import System

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CLIENT_ID = "com.backstagehub/app"
FREDDIE = ("freddie", "a-kind-of-magic-1986")
VERIFIER = secrets.token_urlsafe(32)


class Callback:
    """Stands where the application is, and keeps what is sent there."""

    def __init__(self, system: System) -> None:
        self.address = f"http://localhost:{system.ports.backstagehub}/callback"
        self.posted: list[dict[str, str]] = []
        self.origins: list[str] = []

    async def stand(self, context: BrowserContext) -> None:
        await context.route(re.compile(f"^{re.escape(self.address)}"), self._answer)

    async def _answer(self, route: Route) -> None:
        assert route.request.method == "POST"
        assert route.request.url == self.address
        found = parse_qs(route.request.post_data or "", strict_parsing=True)
        self.posted.append({name: value for name, (value,) in found.items()})
        self.origins.append(route.request.headers["origin"])
        await route.fulfill(body="the application has its answer", content_type="text/plain")

    def request(self, system: System, **parameters: str) -> str:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": CLIENT_ID,
            "redirect_uri": self.address,
            "response_type": "code",
            "response_mode": "form_post",
            "scope": "openid",
            "state": "\"'><b>st&te",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **parameters,
        }
        return f"{system.ports.issuer}/connect/authorize?{urlencode(query)}"


async def _sign_in(page: Page) -> None:
    await page.get_by_label("Name").fill(FREDDIE[0])
    await page.get_by_label("Password").fill(FREDDIE[1])
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_role("button", name="Allow").click()


async def test_it_is_posted_by_itself_and_the_code_works(system: System, chromium: Browser, screenshots: Path) -> None:
    context = await chromium.new_context()
    page = await context.new_page()
    spoken: list[str] = []
    page.on("console", lambda message: spoken.append(message.text) if message.type == "error" else None)
    callback = Callback(system)
    await callback.stand(context)
    claims = '{"userinfo":{"given_name":{"essential":true}}}'
    await page.goto(callback.request(system, claims=claims))
    await page.get_by_label("Name").fill(FREDDIE[0])
    await page.get_by_label("Password").fill(FREDDIE[1])
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_text("see your given name")).to_be_visible()
    await page.screenshot(path=screenshots / "form-post-1-consent.png", full_page=True)
    await page.get_by_role("button", name="Allow").click()
    await expect(page.get_by_text("the application has its answer")).to_be_visible()
    (answer,) = callback.posted
    assert (answer["state"], answer["iss"]) == ("\"'><b>st&te", system.ports.issuer)
    assert callback.origins == [system.ports.origin]
    assert spoken == []
    secret = system.demo["applications"][0]["client_secret"]
    async with httpx.AsyncClient(base_url=system.ports.issuer) as client:
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": callback.address,
            "code_verifier": VERIFIER,
        }
        given = await client.post("connect/token", data=form, auth=(CLIENT_ID.replace("/", "%2F"), secret))
        token = given.json()["access_token"]
        told = (await client.post("connect/userinfo", data={"access_token": token})).json()
    assert told.keys() == {"sub", "given_name"}
    await context.close()


async def test_without_scripts_a_button_posts_it(system: System, chromium: Browser, screenshots: Path) -> None:
    context = await chromium.new_context(java_script_enabled=False)
    page = await context.new_page()
    callback = Callback(system)
    await callback.stand(context)
    await page.goto(callback.request(system, prompt="login consent"))
    await _sign_in(page)
    await expect(page.get_by_role("heading", name="Going back to the application")).to_be_visible()
    await page.screenshot(path=screenshots / "form-post-2-button.png", full_page=True)
    assert callback.posted == []
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_text("the application has its answer")).to_be_visible()
    assert callback.posted[0]["code"]
    await page.goto(callback.request(system, prompt="none login"))
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_text("the application has its answer")).to_be_visible()
    assert callback.posted[1]["error"] == "invalid_request"
    await context.close()
