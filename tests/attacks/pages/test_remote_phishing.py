"""Somebody makes a person let in a device that is not theirs (RFC 8628 sections 5.4 and 5.5)."""

import pytest

from services.identity.events import SessionEndReason
from tests.support.identity_service import PASSWORD, Identity, sign_in

CODE, OTHER = "WDJB-MJHT", "BCDF-GHJK"


@pytest.fixture(autouse=True)
async def waiting(identity: Identity) -> str:
    """Mallory's device waits; answers Freddie's `sub`."""
    identity.issuer.devices[CODE] = "openid read"
    return await identity.register()


async def test_no_link_lets_a_device_in(identity: Identity) -> None:
    browser = identity.browser()
    await sign_in(browser)
    page = await browser.get(f"device?user_code={CODE}")
    for _ in range(3):
        page = await browser.get(page.url)
    assert identity.issuer.allowed == []
    # Nor does sending the code: there is one more page, which shows it.
    page = await browser.submit(page)
    assert page.path == "/id/consent"
    assert identity.issuer.allowed == []


async def test_the_person_is_told_what_it_means(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.get(f"device?user_code={CODE}")
    assert "Nobody who calls you or writes to you needs you to type one here." in page.text
    page = await browser.submit(page)
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    for told in (
        CODE,
        "Is it the code on your own device, in front of you?",
        "if somebody sent you the code or a link with it, deny",
        "would act in your name",
    ):
        assert told in page.text


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"origin": "https://mallory.example"}])
async def test_another_site_cannot_send_the_forms(identity: Identity, headers: dict[str, str]) -> None:
    browser = identity.browser()
    await sign_in(browser)
    page = await browser.get("device")
    sent = await browser.send("POST", page.form.action, data={**page.form.fields, "user_code": CODE}, headers=headers)
    assert sent.status == 403
    page = await browser.submit(page, user_code=CODE)
    for decision in ("allow", "deny"):
        data = {**page.form.fields, "decision": decision}
        assert (await browser.send("POST", page.form.action, data=data, headers=headers)).status == 403
    assert (identity.issuer.allowed, identity.issuer.denied) == ([], [])


async def test_a_form_of_another_browser_is_not_taken(identity: Identity) -> None:
    """Mallory opens the pages, and has Freddie's browser send what is on them."""
    mallory, freddie = identity.browser(), identity.browser()
    await identity.register("mallory")
    await sign_in(mallory, "mallory")
    await sign_in(freddie)
    page = await mallory.get("device")
    await freddie.get("device")
    data = {**page.form.fields, "user_code": CODE}
    assert (await freddie.send("POST", page.form.action, data=data)).status == 403
    page = await mallory.submit(page, user_code=CODE)
    for decision in ("allow", "deny"):
        sent = await freddie.send("POST", page.form.action, data={**page.form.fields, "decision": decision})
        assert sent.status == 403
    assert (identity.issuer.allowed, identity.issuer.denied) == ([], [])


async def test_who_has_gone_through_the_pages_cannot_answer_for_another_code(identity: Identity) -> None:
    identity.issuer.devices[OTHER] = "openid read update"
    browser = identity.browser()
    await sign_in(browser)
    one = await browser.submit(await browser.get("device"), user_code=CODE)
    other = await browser.submit(await browser.get("device"), user_code=OTHER)
    mixed = {**one.form.fields, "request": other.form.fields["request"], "decision": "allow"}
    assert (await browser.send("POST", one.form.action, data=mixed)).status == 403
    assert identity.issuer.allowed == []


@pytest.mark.parametrize("decision", ["allow", "deny"])
async def test_nobody_answers_without_signing_in(identity: Identity, decision: str) -> None:
    """Nor refuses: else whoever guesses a code could keep a device out."""
    browser = identity.browser()
    page = await browser.submit(await browser.get("device"), user_code=CODE)
    sealed = page.form.fields["request"]
    data = {"request": sealed, "form": page.form.fields["form"], "decision": decision}
    assert (await browser.send("POST", "consent", data=data)).status == 403
    consent = await browser.get(f"consent?request={sealed}")
    assert consent.path == "/id/signin"
    assert (identity.issuer.allowed, identity.issuer.denied) == ([], [])


async def test_who_signs_out_on_the_way_answers_nothing(identity: Identity) -> None:
    browser = identity.browser()
    await sign_in(browser)
    page = await browser.submit(await browser.get("device"), user_code=CODE)
    for session in await identity.facts("SessionStarted"):
        await identity.parts.sessions.end(
            session.event.sid,  # type: ignore[attr-defined]
            SessionEndReason.ENDED_BY_USER,
            identity.context(),
        )
    page = await browser.submit(page, decision="allow")
    assert page.path == "/id/signin"
    assert identity.issuer.allowed == []


async def test_what_is_typed_is_text_and_nothing_else(identity: Identity) -> None:
    browser = identity.browser()
    for typed in ('"><script>', "<b>", "' autofocus", "\u202eTHJM"):
        page = await browser.get("device", params={"user_code": typed})
        assert page.form.fields["user_code"] == typed
        assert "script" not in {tag for tag, _ in page.tags}
    assert len((await browser.get("device", params={"user_code": "x" * 500})).form.fields["user_code"]) == 16
