"""Somebody sits down at a screen where Freddie is signed in, to take a key along that works without him."""

import pytest

from tests.support.browsing import Browser
from tests.support.fake_own_access import TOKEN
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in

MAKE = "/id/account/tokens/new"
FIELDS = {"label": "x", "days": "365", "scope:read": "on"}


@pytest.fixture
async def freddie(identity: Identity) -> Browser:
    await identity.register()
    browser = identity.browser()
    await browser.submit_once(await sign_in(browser), decision="allow")
    return browser


async def test_the_password_is_asked_for_anew(identity: Identity, freddie: Browser) -> None:
    identity.clock.forward(minutes=5, seconds=1)
    page = await freddie.get(MAKE)
    assert page.path == "/id/signin"
    assert "Please sign in once more" in page.text
    assert page.form.fields["user_name"] == "freddie"
    for wrong in ("", "a-kind-of-magic-1987"):
        page = await freddie.submit_once(page, password=wrong)
        assert page.status == 422
        assert (await freddie.get(MAKE)).path == "/id/signin"
    page = await freddie.submit(page, password=PASSWORD)
    assert page.path == MAKE
    # The same session goes on, under another secret.
    assert len(await identity.facts("SessionStarted")) == 1
    assert (await freddie.submit_once(page, **FIELDS)).text.count(TOKEN) == 1


async def test_a_form_that_was_left_open_gives_nothing(identity: Identity, freddie: Browser) -> None:
    form = await freddie.get(MAKE)
    assert form.path == MAKE
    identity.clock.forward(minutes=10, seconds=1)
    answer = await freddie.submit_once(form, **FIELDS)
    assert (answer.status, answer.location) == (303, f"{identity.settings.issuer}/signin?then=token")
    assert identity.issuer.own.made == []


async def test_whoever_is_slow_to_fill_it_in_is_not_sent_away(identity: Identity, freddie: Browser) -> None:
    identity.clock.forward(minutes=4, seconds=59)
    form = await freddie.get(MAKE)
    identity.clock.forward(minutes=5)
    assert (await freddie.submit_once(form, **FIELDS)).status == 200


async def test_coming_back_to_an_application_is_no_proof(identity: Identity, freddie: Browser) -> None:
    """A visit keeps the session alive, and shows no more than that the browser is open."""
    identity.clock.forward(minutes=6)
    assert (await freddie.get("/id/account")).path == "/id/account"
    assert (await freddie.get(authorization())).status == 303
    assert (await freddie.get(MAKE)).path == "/id/signin"


async def test_somebody_else_s_password_opens_their_own_page_only(identity: Identity, freddie: Browser) -> None:
    await identity.register("brian", "red-special-1963")
    identity.clock.forward(minutes=6)
    page = await freddie.submit(await freddie.get(MAKE), user_name="brian", password="red-special-1963")
    assert page.path == MAKE
    await freddie.submit_once(page, **FIELDS)
    freddie_s, brian_s = [fact.event.sub for fact in await identity.facts("SessionStarted")]  # type: ignore[attr-defined]
    assert [asked.session.sub for asked in identity.issuer.own.made] == [brian_s]
    assert freddie_s != brian_s


@pytest.mark.parametrize("then", ["//evil.example", "https://evil.example", "/account/tokens/new", "tokens", "token "])
async def test_afterwards_leads_to_our_own_pages_only(identity: Identity, freddie: Browser, then: str) -> None:
    page = await freddie.get("/id/signin", params={"then": then})
    answer = await freddie.submit_once(page, user_name="freddie", password=PASSWORD)
    assert answer.location == f"{identity.settings.issuer}/account"
