"""P5: how often the identity service asks the database. With the issuer's five a sign-in stays within fifteen."""

from tests.support.counting import RoundTrips
from tests.support.fake_issuer import CALLBACK
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in


async def test_a_sign_in_with_the_password_typed_is_ten_at_most(identity: Identity, round_trips: RoundTrips) -> None:
    await identity.register()
    first = identity.browser()
    await first.submit(await sign_in(first), decision="allow")  # consent is remembered
    browser = identity.browser()
    with round_trips.counted() as seen:
        page = await browser.get(authorization())
        page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert page.location.startswith(CALLBACK)
    assert seen.count("append") == 1
    assert len(seen) <= 10, seen


async def test_a_sign_in_with_a_session_is_two_at_most(identity: Identity, round_trips: RoundTrips) -> None:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    with round_trips.counted() as seen:
        page = await browser.get(authorization())
    assert page.location.startswith(CALLBACK)
    assert seen.count("append") == 0
    assert len(seen) <= 2, seen
