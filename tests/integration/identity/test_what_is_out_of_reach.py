"""Whatever is away, the answer comes soon, says so, and gives nothing."""

import asyncio

from tests.support.fake_issuer import FakeIssuer
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in


async def test_without_the_issuer_there_is_a_page_that_says_to_try_again(identity: Identity) -> None:
    await identity.issuer.stop()
    for path in (authorization(), "/id/connect/endsession"):
        page = await identity.browser().get(path)
        assert page.status == 503
        assert int(page.headers["retry-after"]) >= 1
        assert page.headers["content-type"].startswith("text/html")
        assert "try again" in page.text.lower()


async def test_an_issuer_that_goes_away_in_the_middle_loses_nothing(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await sign_in(browser)
    address = identity.issuer.address
    await identity.issuer.stop()
    refused = await browser.submit(page, decision="allow")
    assert refused.status == 503
    # It comes back, as another process; the form is sent again, and nothing is asked or written twice.
    again = FakeIssuer(address=address)
    again._sealed = identity.issuer._sealed
    async with again:
        async with asyncio.timeout(10):
            # Each attempt waits for the connection by itself, so this does not spin.
            while (answer := await browser.submit(page, decision="allow")).status == 503:
                pass
    assert "code" in answer.answer
    assert len(await identity.facts("ConsentGiven")) == 1


async def test_signing_in_without_the_issuer_is_still_a_session(identity: Identity) -> None:
    await identity.register()
    identity.issuer.change(first_party=True)
    browser = identity.browser()
    page = await browser.get(authorization())
    await identity.issuer.stop()
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert page.status == 503
    assert (await browser.get("/id/account")).path == "/id/account"


async def test_without_the_database_nobody_signs_in_and_nobody_waits_for_long(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await browser.get(authorization())
    loop = asyncio.get_running_loop()
    identity.database.server.pause()
    try:
        began = loop.time()
        page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
        assert page.status == 503
        assert int(page.headers["retry-after"]) >= 1
        assert page.form.fields["user_name"] == "freddie"
        answer = await browser.send(
            "GET", "/id/connect/userinfo", headers={"authorization": f"Bearer {identity.token('x')}"}
        )
        assert answer.status == 503
        assert loop.time() - began < 15
    finally:
        identity.database.server.resume()
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert page.path == "/id/consent"
