"""People with long names, people who write from right to left, and people who press the button to go back."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from infra.local.system import System
from tests.support.command import stagedoor

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LONG = "Donaudampfschifffahrtsgesellschaftskapitänspatentinhaberin"
PASSWORD = "correct-horse-battery"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""Of RFC 7636 appendix B; no code is redeemed here."""


async def _register(system: System, client_id: str, name: str) -> str:
    """An application of that name; answers the address of its request."""
    await stagedoor(
        system,
        *("apps", "register", client_id, "--name", name, "--type", "public", "--redirect-uri", "http://localhost/back"),
        *("--scope", "read", "--grant", "authorization_code", "--reference-tokens", "authenticated_users"),
        *("--contact", f"help@{LONG.lower().replace('ä', 'ae')}.example"),
    )
    return (
        f"{system.ports.issuer}/connect/authorize?response_type=code&client_id={client_id}&scope=openid+read"
        f"&redirect_uri=http://localhost/back&code_challenge={CHALLENGE}&code_challenge_method=S256&state=s"
    )


async def _sign_in(page: Page, name: str, password: str) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def _fits(page: Page) -> None:
    """Nothing makes the page wider than a telephone, and nothing is cut off."""
    wider = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, f"{await page.title()} is {wider} pixels too wide"
    outside = await page.evaluate(
        """() => {
            const edge = document.querySelector("main").getBoundingClientRect().right;
            const seen = [...document.querySelectorAll("main *")].filter(one => !one.closest(".unseen"));
            return seen.filter(one => one.getBoundingClientRect().right > edge).map(one => one.outerHTML);
        }"""
    )
    assert outside == []


async def test_long_names_break_and_widen_nothing(system: System, chromium: Browser, tmp_path: Path) -> None:
    address = await _register(system, "com.example/long", LONG)
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    await stagedoor(system, "users", "add", "w" * 64, "--display-name", LONG * 4, "--password-file", str(secret))
    context = await chromium.new_context(viewport={"width": 320, "height": 640})
    page = await context.new_page()

    await page.goto(address)
    await _fits(page)
    await _sign_in(page, "w" * 64, PASSWORD)
    await expect(page.get_by_role("heading", name=f"Allow {LONG}?")).to_be_visible()
    await _fits(page)
    await page.goto(f"{address}&prompt=select_account")
    await expect(page.get_by_role("heading", name="Choose an account")).to_be_visible()
    await _fits(page)
    await page.goto(f"{system.ports.issuer}/connect/endsession")
    await _fits(page)

    await page.goto(f"{system.ports.issuer}/account/tokens/new?application=com.example/long")
    await _fits(page)
    await page.get_by_label("Name").fill("W" * 60)
    await page.get_by_role("checkbox").first.check()
    await page.get_by_role("button", name="Make the token").click()
    await expect(page.get_by_role("heading", name="Your new token")).to_be_visible()
    await _fits(page)
    await page.goto(f"{system.ports.issuer}/account")
    await expect(page.get_by_role("heading", name="W" * 60)).to_be_visible()
    await _fits(page)
    await context.close()


async def test_a_name_written_from_right_to_left_leaves_the_words_around_it_in_place(
    system: System, chromium: Browser
) -> None:
    """A name ends with a bracket and a number, which without isolation go to where the sentence begins."""
    name = "مدير (1)"
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(await _register(system, "com.example/rtl", name))
    await _sign_in(page, "freddie", "a-kind-of-magic-1986")
    heading = page.get_by_role("heading", name=f"Allow {name}?")
    await expect(heading).to_be_visible()
    # Where each piece of the sentence is on the screen, from the left.
    lefts = await heading.evaluate(
        """heading => ["Allow", "1", "?"].map(piece => {
            const walk = document.createTreeWalker(heading, NodeFilter.SHOW_TEXT);
            while (walk.nextNode()) {
                const at = walk.currentNode.data.lastIndexOf(piece);
                if (at < 0) continue;
                const range = document.createRange();
                range.setStart(walk.currentNode, at);
                range.setEnd(walk.currentNode, at + piece.length);
                return range.getBoundingClientRect().left;
            }
        })"""
    )
    inside = await heading.locator("bdi").evaluate(
        "name => [name.getBoundingClientRect().left, name.getBoundingClientRect().right]"
    )
    allow, number, question = lefts
    assert allow < inside[0] <= number < inside[1] <= question + 1
    await context.close()


async def test_going_back_after_signing_in_still_shows_the_dates(system: System, chromium: Browser) -> None:
    """The page of consent answers anew, with a code for a sign-in that BackstageHub has finished already."""
    hub = f"http://localhost:{system.ports.backstagehub}"
    context = await chromium.new_context(viewport={"width": 320, "height": 640})
    page = await context.new_page()
    await page.goto(hub)
    await page.get_by_role("link", name="Sign in").first.click()
    await _sign_in(page, "freddie", "a-kind-of-magic-1986")
    await page.get_by_role("button", name="Allow").click()
    dates = page.get_by_role("heading", name="Add a date")
    await expect(dates).to_be_visible()
    await page.go_back()
    await expect(dates).to_be_visible()
    assert page.url == f"{hub}/"

    await page.get_by_label("City").fill("x" * 200)
    await page.get_by_label("Venue").fill("<b>Wembley</b>")
    await page.get_by_label("Date").fill("1986-07-12")
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_role("status")).to_contain_text("is on the bill")
    await _fits(page)

    # What is wrong is said at the end of a list that is longer than the screen, and seen all the same.
    await page.get_by_label("City").fill("London")
    await page.get_by_label("Venue").fill(" ")
    await page.get_by_label("Date").fill("1986-07-12")
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_role("alert")).to_be_in_viewport()
    await expect(page.get_by_label("City")).to_be_focused()
    await context.close()


async def test_an_answer_that_nobody_asked_for_signs_nobody_in(system: System, chromium: Browser) -> None:
    hub = f"http://localhost:{system.ports.backstagehub}"
    context = await chromium.new_context()
    page = await context.new_page()
    answer = await page.goto(f"{hub}/callback?code=x&state=y&iss={system.ports.issuer}")
    assert answer is not None
    assert answer.status == 403
    await expect(page.get_by_role("heading", name="Once more, please")).to_be_visible()
    assert "CSRF" not in await page.content()
    await page.get_by_role("link", name="Sign in again").click()
    await expect(page).to_have_url(re.compile(f"^{re.escape(system.ports.issuer)}/signin"))
    await context.close()
