"""Redirects that take a form with its password along (RFC 9700 section 4.12)."""

from tests.support.identity_service import ISSUER, PASSWORD, Identity, authorization


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


async def test_a_look_at_the_head_of_a_page_does_nothing(identity: Identity) -> None:
    for path in ("/connect/authorize", "/consent", "/connect/endsession", "/signin"):
        assert (await identity.browser().send("HEAD", f"{ISSUER}{path}")).status == 405, path
    assert identity.issuer.begun == []
