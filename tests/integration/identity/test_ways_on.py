"""No page is a dead end: one that has gone stale, or was never there, leads on to one that works."""

import pytest

from tests.support.browsing import Browser, Page
from tests.support.fake_issuer import CALLBACK
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in


@pytest.fixture
async def browser(identity: Identity) -> Browser:
    await identity.register()
    return identity.browser()


async def _lead_on(browser: Browser, page: Page) -> Page:
    assert page.status == 403
    (link,) = page.links
    return await browser.get(link)


async def test_a_second_page_to_sign_in_goes_on_with_the_session_of_the_first(browser: Browser) -> None:
    first, second = await browser.get(authorization()), await browser.get(authorization(state="other"))
    await browser.submit(first, user_name="freddie", password=PASSWORD, action="sign_in")
    stale = await browser.submit(second, user_name="freddie", password=PASSWORD, action="sign_in")
    page = await _lead_on(browser, stale)
    assert page.path == "/id/consent"
    page = await browser.submit(page, decision="allow")
    assert page.location.startswith(CALLBACK)
    assert page.answer["state"] == "other"


async def test_a_page_to_sign_in_that_lost_its_cookies_begins_again(browser: Browser) -> None:
    page = await browser.get(authorization())
    browser.client.cookies.clear()
    stale = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    page = await _lead_on(browser, stale)
    assert page.path == "/id/signin"
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert page.path == "/id/consent"


async def test_a_page_to_sign_in_for_a_place_still_leads_there(browser: Browser) -> None:
    page = await browser.get("/id/account/password")
    browser.client.cookies.clear()
    stale = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    page = await _lead_on(browser, stale)
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert page.path == "/id/account/password"


async def test_consent_that_came_too_late_is_asked_for_again(identity: Identity, browser: Browser) -> None:
    page = await sign_in(browser)
    page.form.fields["form"] = "0.stale"
    page = await _lead_on(browser, await browser.submit(page, decision="allow"))
    assert page.path == "/id/consent"
    assert await identity.facts("ConsentGiven") == []


@pytest.mark.parametrize("path", ["/account/password", "/account", "/connect/endsession"])
async def test_forms_of_the_account_lead_back_to_their_page(browser: Browser, path: str) -> None:
    await sign_in(browser)
    page = await browser.get(f"/id{path}")
    page.form.fields["form"] = "0.stale"
    again = await _lead_on(browser, await browser.submit(page))
    assert again.status == 200
    assert again.form.action == page.form.action


async def test_an_address_without_a_page_leads_to_the_account(browser: Browser) -> None:
    await sign_in(browser)
    for path in ("/id/account/", "/id/account/sessions/end", "/id/consent", "/id/signin?request=x"):
        page = await browser.get(path)
        assert page.status in (400, 404, 405)
        assert page.links == ["/id/account"], path


async def test_an_address_says_which_methods_it_takes(browser: Browser) -> None:
    for path, methods in (
        ("/id/signin", {"GET", "POST"}),
        ("/id/account/sessions/end", {"POST"}),
        ("/id/account", {"GET"}),
    ):
        page = await browser.send("PUT", path)
        assert page.status == 405
        assert set(page.headers["allow"].split(", ")) == methods, path


async def test_nobody_who_is_signed_in_is_told_that_they_are_not(browser: Browser) -> None:
    assert (await browser.get("/id/signedout")).path == "/id/signedout"
    await sign_in(browser)
    assert (await browser.get("/id/signedout")).path == "/id/account"


async def test_what_is_wrong_is_said_where_it_is_typed(browser: Browser) -> None:
    """A screen reader that stands in the field reads the message too (WCAG 2.2, 3.3.1 and 4.1.2)."""
    page = await browser.get(authorization())
    page = await browser.submit(page, user_name="freddie", password="not-my-password", action="sign_in")
    assert page.status == 422
    _described(page, "password")
    assert _field(page, "password")["aria-invalid"] == "true"
    await sign_in(browser)
    page = await browser.submit(
        await browser.get("/id/account/password"),
        current_password=PASSWORD,
        new_password="freddie",
        new_password_again="freddie",
    )
    assert page.status == 422
    _described(page, "new_password")


async def test_too_many_attempts_do_not_make_the_fields_wrong(browser: Browser) -> None:
    page = await browser.get(authorization())
    for _ in range(11):
        page = await browser.submit(page, user_name="freddie", password="not-my-password", action="sign_in")
    assert page.status == 429
    _described(page, "password")
    assert "aria-invalid" not in _field(page, "password")


def _field(page: Page, name: str) -> dict[str, str]:
    (found,) = [given for tag, given in page.tags if tag == "input" and given.get("name") == name]
    return found


def _described(page: Page, name: str) -> None:
    ids = {given["id"] for _, given in page.tags if "id" in given}
    described = _field(page, name)["aria-describedby"].split()
    assert "problem" in described
    assert set(described) <= ids
