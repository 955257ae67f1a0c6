"""Another site signs Freddie out (logout CSRF): by a link, an image or a form of its own.

A hint is no proof of a wish: an ID token of another session, or of the attacker's own, is shown as easily as none.
"""

import pytest

from services.identity.events import SessionStarted
from tests.support.browsing import Browser
from tests.support.fake_issuer import AFTERWARDS, CLIENT
from tests.support.identity_service import Identity, sign_in

END = "/id/connect/endsession"
FOREIGN = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Referer": "https://evil.example/"}


@pytest.fixture
async def freddie(identity: Identity) -> Browser:
    await identity.register(display_name="Freddie")
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    return browser


async def requests(identity: Identity) -> list[dict[str, str]]:
    """What the other site may ask for."""
    (fact,) = await identity.facts("SessionStarted")
    assert isinstance(fact.event, SessionStarted)
    asked: list[dict[str, str]] = [
        {},
        {"client_id": CLIENT},
        {"logout_hint": "freddie"},
        {"logout_hint": fact.event.sub},
        {"logout_hint": fact.event.sid},
        {"id_token_hint": "sub-of-the-attacker sid-of-the-attacker"},
        {"id_token_hint": f"{fact.event.sub} sid-of-another-session"},
        {"id_token_hint": f"sub-of-the-attacker {fact.event.sid}x"},
    ]
    return [*asked, *({**one, "post_logout_redirect_uri": AFTERWARDS, "state": "x"} for one in asked)]


async def test_by_a_link_or_an_image(identity: Identity, freddie: Browser) -> None:
    for asked in await requests(identity):
        page = await freddie.get(END, params=asked, headers=FOREIGN)
        assert "Sign out?" in page.text, asked
    assert await identity.facts("SessionEnded") == []
    assert (await freddie.get("/id/account")).path == "/id/account"


async def test_by_a_form(identity: Identity, freddie: Browser) -> None:
    """Browsers send no cookie with it; and where one did, Freddie would still be asked."""
    headers = {**FOREIGN, "Content-Type": "application/x-www-form-urlencoded"}
    for asked in await requests(identity):
        page = await freddie.follow(await freddie.send("POST", END, data=asked, headers=headers))
        assert "Sign out?" in page.text, asked
    assert await identity.facts("SessionEnded") == []


async def test_by_the_answer_to_the_question(identity: Identity, freddie: Browser) -> None:
    """The attacker's own page of that kind, with all that is hidden in it."""
    await identity.register("fan", display_name="Fan")
    attacker = identity.browser()
    await attacker.submit(await sign_in(attacker, "fan"), decision="allow")
    page = await attacker.get(END)
    sent = {**page.form.fields, "action": "sign_out"}
    for headers in (FOREIGN, {"Origin": "http://127.0.0.1:8400"}):
        answer = await freddie.send("POST", "/id/account/signout", data=sent, headers=headers)
        assert answer.status in {400, 403}, answer.text
    assert await identity.facts("SessionEnded") == []
