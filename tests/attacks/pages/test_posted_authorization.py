"""Authorization requests that are posted: from another site, twice over, or to wear the server out."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from services.token_issuer.authorization.parameters import LONGEST_IN_ALL
from shared.http.forms import FORM_BYTES
from tests.support.identity_service import Identity, authorization, sign_in

PATH = "/id/connect/authorize"


def form(**parameters: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(authorization(**parameters)).query))


async def test_another_site_gets_nothing_that_a_link_would_not(identity: Identity) -> None:
    """It goes on by GET, where the browser's cookies count, and asks the person like any other request."""
    await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    headers = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    page = await browser.send("POST", PATH, data=form(), headers=headers)
    assert page.status == 303
    assert urlsplit(page.location).path == "/id/consent"
    assert "set-cookie" not in page.headers
    assert (await browser.follow(page)).path == "/id/consent"
    assert identity.issuer.issued == []
    assert await identity.facts("ConsentGiven") == []


async def test_no_page_is_skipped_by_posting(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await browser.submit(await sign_in(browser), decision="allow")
    assert "code" in page.answer
    for prompt, path in (("login", "/id/signin"), ("consent", "/id/consent"), ("select_account", "/id/signin/choose")):
        page = await browser.follow(await browser.send("POST", PATH, data=form(prompt=prompt)))
        assert page.path == path
    aged = await browser.follow(await browser.send("POST", PATH, data=form(max_age="0")))
    assert aged.path == "/id/signin"
    assert len(identity.issuer.issued) == 1


async def test_what_stands_in_the_address_of_a_posted_request_is_not_read(identity: Identity) -> None:
    path = f"{PATH}?client_id=com.mallory/app&redirect_uri=https://evil.example&scope=sec"
    page = await identity.browser().send("POST", path, data=form())
    assert page.status == 303
    (asked,) = identity.issuer.begun
    assert dict(asked) == form()


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"state=" + b"x" * FORM_BYTES, "application/x-www-form-urlencoded", 413),
        (b"a=b&" * 101, "application/x-www-form-urlencoded", 400),
        (b"client_id=%ff", "application/x-www-form-urlencoded", 400),
        (b'{"client_id":"com.backstagehub/app"}', "application/json", 415),
        (b"client_id=a", "text/plain", 415),
        (b"client_id=a", "multipart/form-data; boundary=x", 415),
    ],
)
async def test_bodies_that_are_not_read(identity: Identity, content: bytes, kind: str, status: int) -> None:
    page = await identity.browser().send("POST", PATH, content=content, headers={"content-type": kind})
    assert page.status == status
    assert "location" not in page.headers
    assert identity.issuer.begun == []
    assert LONGEST_IN_ALL < FORM_BYTES
