"""The pages on which a person lets a device in (RFC 8628 section 3.3)."""

import pytest

from services.identity.issuer import Issuer
from shared.errors import Kind, Refusal
from tests.support.identity_service import PASSWORD, Identity, sign_in
from tests.support.second_factor import set_up

CODE = "WDJB-MJHT"


@pytest.fixture(autouse=True)
async def waiting(identity: Identity) -> str:
    """Freddie's television waits; answers his `sub`."""
    identity.issuer.devices[CODE] = "openid read"
    return await identity.register(given_name="Freddie")


async def test_from_the_code_to_the_end(identity: Identity, waiting: str) -> None:
    browser = identity.browser()
    page = await browser.get("device")
    assert page.status == 200
    assert page.form.fields["user_code"] == ""
    page = await browser.submit(page, user_code="wdjb mjht")
    assert page.path == "/id/signin"
    assert "to connect a device with BackstageHub" in page.text
    assert "WDJB" not in page.url
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert page.path == "/id/consent"
    for text in ("Allow BackstageHub?", CODE, "see your tours", "Freddie"):
        assert text in page.text
    page = await browser.submit(page, decision="allow")
    assert (page.status, page.path) == (200, "/id/device/done")
    assert "You may go back to your device" in page.text
    (request,) = identity.issuer.allowed
    (session,) = await identity.facts("SessionStarted")
    assert (request.sub, request.sid) == (waiting, session.event.sid)  # type: ignore[attr-defined]
    assert list(request.consented_scopes) == ["openid", "read"]
    (consent,) = await identity.facts("ConsentGiven")
    assert request.minimum_position >= consent.position  # type: ignore[operator]
    assert (identity.issuer.issued, identity.issuer.refused) == ([], [])


async def test_with_the_code_in_the_link_it_has_still_to_be_confirmed(identity: Identity) -> None:
    browser = identity.browser()
    await sign_in(browser)
    page = await browser.get(f"device?user_code={CODE}")
    assert page.path == "/id/device"
    assert page.form.fields["user_code"] == CODE
    page = await browser.submit(page)
    assert page.path == "/id/consent"
    assert CODE in page.text
    assert identity.issuer.allowed == []


async def test_neither_remembered_consent_nor_the_first_party_goes_without_confirming(identity: Identity) -> None:
    identity.issuer.change(first_party=True)
    browser = identity.browser()
    await sign_in(browser, scope="openid read")
    for _ in range(2):
        identity.issuer.devices[CODE] = "openid read"
        page = await browser.submit(await browser.get("device"), user_code=CODE)
        assert page.path == "/id/consent"
        assert CODE in page.text
        await browser.submit(page, decision="allow")
    assert len(identity.issuer.allowed) == 2
    assert len(await identity.facts("ConsentGiven")) == 1


async def test_the_person_may_say_no(identity: Identity, waiting: str) -> None:
    browser = identity.browser()
    await sign_in(browser)
    page = await browser.submit(await browser.get("device"), user_code=CODE)
    page = await browser.submit(page, decision="deny")
    assert page.path == "/id/device/done"
    assert "The device got nothing" in page.text
    (request,) = identity.issuer.denied
    assert request.sub == waiting
    assert identity.issuer.allowed == []
    assert await identity.facts("ConsentGiven") == []


async def test_cancelling_the_sign_in_leaves_the_device_waiting(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.submit(await browser.get("device"), user_code=CODE)
    page = await browser.submit(page, action="cancel")
    assert page.path == "/id/device"
    assert (identity.issuer.refused, identity.issuer.denied) == ([], [])
    assert CODE in identity.issuer.devices


async def test_somebody_else_may_sign_in_from_the_consent_page(identity: Identity) -> None:
    brian = await identity.register("brian", "red-special-1963")
    browser = identity.browser()
    await sign_in(browser)
    page = await browser.submit(await browser.get("device"), user_code=CODE)
    other = next(link for link in page.links if "signin" in link)
    page = await browser.submit(
        await browser.get(other), user_name="brian", password="red-special-1963", action="sign_in"
    )
    assert CODE in page.text
    await browser.submit(page, decision="allow")
    assert [request.sub for request in identity.issuer.allowed] == [brian]


async def test_a_code_that_is_not_known_is_asked_for_again(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.submit(await browser.get("device"), user_code="BBBB-BBBB")
    assert (page.status, page.path) == (422, "/id/device")
    assert "This code is not known" in page.text
    assert page.form.fields["user_code"] == "BBBB-BBBB"
    assert page.form.fields["form"]
    page = await browser.submit(page, user_code=CODE)
    assert page.path == "/id/signin"


async def test_a_code_that_was_used_meanwhile_is_told_of(identity: Identity) -> None:
    browser = identity.browser()
    await sign_in(browser)
    for decision in ("allow", "deny"):
        identity.issuer.devices[CODE] = "openid"
        page = await browser.submit(await browser.get("device"), user_code=CODE)
        identity.issuer.devices.clear()
        page = await browser.submit(page, decision=decision)
        assert page.status == 422
        assert "This code is not known" in page.text
        assert page.form.action == "/id/device"


async def test_the_last_page_says_what_was_done_and_nothing_else(identity: Identity) -> None:
    browser = identity.browser()
    assert (await browser.get("device/done")).path == "/id/device"
    assert (await browser.get("device/done?outcome=<b>")).path == "/id/device"
    assert "go back to your device" in (await browser.get("device/done?outcome=allowed")).text


async def test_without_the_issuer_it_is_tried_again_later(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.get("device")
    await identity.issuer.stop()
    page = await browser.submit(page, user_code=CODE)
    assert page.status == 503
    assert page.headers["retry-after"]


async def test_what_the_issuer_refuses_for_this_person_is_shown_to_them(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise Refusal(Kind.FORBIDDEN, "access_denied", "the application does not admit this kind of user")

    monkeypatch.setattr(Issuer, "allow_device", refused)
    browser = identity.browser()
    await sign_in(browser)
    page = await browser.submit(await browser.get("device"), user_code=CODE)
    page = await browser.submit(page, decision="allow")
    assert page.status == 403
    assert "The application does not admit this kind of user." in page.text


async def test_who_signs_in_by_two_factors_does_so_here(identity: Identity) -> None:
    browser = identity.browser()
    await sign_in(browser)
    telephone = await set_up(identity, browser)
    browser = identity.browser()
    page = await browser.submit(await browser.get("device"), user_code=CODE)
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert page.path == "/id/signin/second-factor"
    assert "go back" not in page.text
    assert (await browser.submit(page, action="cancel")).path == "/id/device"
    page = await browser.submit(await browser.get("device"), user_code=CODE)
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    page = await browser.submit(page, code=telephone.code(), action="go_on")
    assert page.path == "/id/consent"
    assert CODE in page.text
    await browser.submit(page, decision="allow")
    assert list(identity.issuer.allowed[0].amr) == ["pwd", "otp", "mfa"]
