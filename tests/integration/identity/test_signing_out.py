from urllib.parse import urlsplit

import pytest

from services.identity.events import SessionEnded, SessionEndReason, SessionStarted
from tests.support.browsing import Browser
from tests.support.fake_issuer import AFTERWARDS
from tests.support.identity_service import Identity, sign_in

END = "/id/connect/endsession"


@pytest.fixture
async def browser(identity: Identity) -> Browser:
    await identity.register(display_name="Freddie")
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    return browser


async def hint(identity: Identity) -> str:
    """What stands for an ID token of the current session."""
    (fact,) = await identity.facts("SessionStarted")
    assert isinstance(fact.event, SessionStarted)
    return f"{fact.event.sub} {fact.event.sid}"


async def still_signed_in(browser: Browser) -> bool:
    return (await browser.get("/id/account")).path == "/id/account"


async def test_with_an_id_token_of_this_session_nobody_is_asked(identity: Identity, browser: Browser) -> None:
    page = await browser.send(
        "GET",
        END,
        params={"id_token_hint": await hint(identity), "post_logout_redirect_uri": AFTERWARDS, "state": "x y"},
    )
    assert (page.status, page.location) == (303, f"{AFTERWARDS}?state=x+y")
    assert "stagedoor_session" not in browser.cookies()
    (ended,) = await identity.facts("SessionEnded")
    assert isinstance(ended.event, SessionEnded)
    assert ended.event.reason is SessionEndReason.SIGNED_OUT
    assert (ended.event.tokens_end_at - identity.clock.now).total_seconds() == 24 * 3600
    assert not await still_signed_in(browser)


async def test_the_session_is_denied_not_only_forgotten(identity: Identity, browser: Browser) -> None:
    secret = browser.cookies()["stagedoor_session"]
    await browser.get(END, params={"id_token_hint": await hint(identity)})
    thief = identity.browser()
    thief.client.cookies.set("stagedoor_session", secret, domain="127.0.0.1", path="/id")
    assert not await still_signed_in(thief)


@pytest.mark.parametrize("given", [{}, {"client_id": "com.backstagehub/app"}, {"id_token_hint": "somebody else"}])
async def test_without_one_the_person_is_asked(identity: Identity, browser: Browser, given: dict[str, str]) -> None:
    page = await browser.get(END, params={**given, "post_logout_redirect_uri": AFTERWARDS})
    assert page.status == 200
    assert "Freddie" in page.text
    assert await still_signed_in(browser)
    page = await browser.submit(page, action="sign_out")
    assert (page.status, page.location) == (303, AFTERWARDS)
    assert not await still_signed_in(browser)
    assert len(await identity.facts("SessionEnded")) == 1


async def test_an_older_session_of_the_same_user_is_not_this_one(identity: Identity, browser: Browser) -> None:
    sub = (await hint(identity)).partition(" ")[0]
    page = await browser.get(END, params={"id_token_hint": f"{sub} another-session"})
    assert "Sign out?" in page.text


async def test_staying_signed_in(identity: Identity, browser: Browser) -> None:
    page = await browser.submit(await browser.get(END), action="stay")
    assert page.path == "/id/account"
    assert await identity.facts("SessionEnded") == []


async def test_by_post(identity: Identity, browser: Browser) -> None:
    # The application's form comes without our cookie, so the session is looked for after the redirect.
    page = await browser.send("POST", END, data={"id_token_hint": await hint(identity)})
    assert (page.status, urlsplit(page.location).path) == (303, "/id/account/signout")
    assert await still_signed_in(browser)
    page = await browser.get(page.location)
    assert page.path == "/id/signedout"
    assert not await still_signed_in(browser)


async def test_who_is_not_signed_in_is_sent_on(identity: Identity) -> None:
    page = await identity.browser().get(END)
    assert page.path == "/id/signedout"
    page = await identity.browser().get(END, params={"post_logout_redirect_uri": AFTERWARDS})
    assert page.location == AFTERWARDS


async def test_an_address_that_is_not_registered_ends_here(identity: Identity, browser: Browser) -> None:
    page = await browser.get(END, params={"post_logout_redirect_uri": "https://evil.example/"})
    assert page.status == 400
    assert "location" not in page.headers
    assert await still_signed_in(browser)
    assert await identity.facts("SessionEnded") == []
