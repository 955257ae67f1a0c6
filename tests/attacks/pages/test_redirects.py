"""Open redirects, and redirects that carry too much."""

import pytest

from services.identity.pages.rendering import see_other
from tests.support.browsing import Browser
from tests.support.fake_issuer import CALLBACK
from tests.support.identity_service import ISSUER, PASSWORD, Identity, authorization, sign_in

EVIL = "https://evil.example/"
PARAMETERS = ["next", "then", "return_to", "returnUrl", "redirect", "redirect_uri", "url", "continue", "request"]


async def test_no_parameter_of_a_page_is_an_address(identity: Identity) -> None:
    await identity.register()
    for name in PARAMETERS:
        await lead_astray(identity, name)


async def lead_astray(identity: Identity, name: str) -> None:
    browser = identity.browser()
    for path in ("/id/signin", "/id/account", "/id/account/password", "/id/signedout", "/id/consent"):
        for value in (EVIL, "//evil.example", "/\\evil.example"):
            answer = await browser.send("GET", path, params={name: value})
            assert "evil.example" not in answer.headers.get("location", "")
            assert "evil.example" not in answer.response.text
    page = await browser.get("/id/signin")
    fields = {**page.form.fields, name: EVIL} if name != "request" else page.form.fields
    answer = await browser.send("POST", "/id/signin", data={**fields, "user_name": "freddie", "password": PASSWORD})
    assert answer.location == f"{ISSUER}/account"


async def test_addresses_are_the_issuers_whatever_the_request_says(identity: Identity) -> None:
    await identity.register()
    for headers in (
        {"host": "evil.example"},
        {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https"},
        {"forwarded": "host=evil.example"},
        {"x-original-url": "/evil", "x-rewrite-url": "/evil"},
    ):
        browser = identity.browser()
        page = await browser.send("GET", authorization(), headers=headers)
        assert page.location.startswith(f"{ISSUER}/signin?request=")
        page = await browser.send("GET", page.location, headers=headers)
        assert "evil" not in page.response.text
        assert "evil" not in str(page.headers)
        assert page.form.action == "/id/signin"


async def test_paths_are_taken_literally(identity: Identity) -> None:
    browser = identity.browser()
    for path in ("//evil.example/id/signin", "/id//evil.example", "/id/signin/", "/id/../evil", "/id"):
        answer = await browser.send("GET", f"http://127.0.0.1:8400{path}")
        assert answer.status == 404, path
        assert "location" not in answer.headers


async def test_a_look_at_the_head_of_a_page_does_nothing(identity: Identity) -> None:
    for path in ("/connect/authorize", "/consent", "/connect/endsession", "/signin"):
        assert (await identity.browser().send("HEAD", f"{ISSUER}{path}")).status == 405, path
    assert identity.issuer.begun == []


async def test_after_a_form_it_is_always_303(identity: Identity) -> None:
    """307 and 308 would send the password on to where they lead (RFC 9700 section 4.12)."""
    await identity.register()
    browser = identity.browser()
    page = await browser.get(authorization())
    signed_in = await browser.submit_once(page, user_name="freddie", password=PASSWORD, action="sign_in")
    consent = await browser.get(signed_in.location)
    allowed = await browser.submit_once(consent, decision="allow")
    page = await browser.get(authorization(prompt="consent"))
    denied = await browser.submit_once(page, decision="deny")
    page = await browser.get(authorization(prompt="select_account"))
    chosen = await browser.submit_once(page)
    page = await browser.get("/id/account/password")
    new = {"new_password": "crazy-little-thing", "new_password_again": "crazy-little-thing"}
    changed = await browser.submit_once(page, current_password=PASSWORD, **new)
    page = await browser.get("/id/connect/endsession")
    signed_out = await browser.submit_once(page, action="sign_out")
    answers = [signed_in, allowed, denied, chosen, changed, signed_out]
    assert [answer.status for answer in answers] == [303] * 6
    assert all(PASSWORD not in answer.location and "crazy" not in answer.location for answer in answers)


@pytest.mark.parametrize(
    "redirect",
    [
        f"{CALLBACK}?code=x\r\nSet-Cookie: stagedoor_session=planted",
        f"{CALLBACK}\nX-Evil: 1",
        f"{CALLBACK} x",
        f"{CALLBACK}\x00",
        f"{CALLBACK}é",
        "",
    ],
)
def test_an_address_that_would_be_another_header(redirect: str) -> None:
    """Should the issuer ever answer with one."""
    with pytest.raises(ValueError, match="visible ASCII"):
        see_other(redirect)


async def test_what_an_application_sends_stays_a_value(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    for state in ("a\r\nSet-Cookie: x=y", "a%0d%0aSet-Cookie: x=y", "\u2028", "é"):
        page = await browser.get(authorization(state=state))
        assert page.answer["state"] == state
        assert [name for name in page.headers if name.lower() == "set-cookie"] == []


async def test_no_page_tells_other_sites_where_somebody_was(identity: Identity) -> None:
    browser: Browser = identity.browser()
    page = await browser.get(authorization())
    assert page.headers["referrer-policy"] == "same-origin"
    answer = await browser.send("GET", authorization(prompt="none"))
    assert answer.headers["referrer-policy"] == "no-referrer"
