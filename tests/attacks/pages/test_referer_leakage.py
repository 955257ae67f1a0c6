"""What a browser tells the next site (RFC 9700 section 4.2)."""

from tests.support.browsing import Browser
from tests.support.identity_service import Identity, authorization


async def test_no_page_tells_other_sites_where_somebody_was(identity: Identity) -> None:
    browser: Browser = identity.browser()
    page = await browser.get(authorization())
    assert page.headers["referrer-policy"] == "same-origin"
    answer = await browser.send("GET", authorization(prompt="none"))
    assert answer.headers["referrer-policy"] == "no-referrer"
