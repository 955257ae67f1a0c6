"""Somebody types one user code after the other (RFC 8628 section 5.1)."""

from typing import Any

import pytest

from tests.support.identity_service import Identity, sign_in

MOST, FROM_ONE_ADDRESS = 4, 8


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"sign_in_failures": MOST, "address_failures": FROM_ONE_ADDRESS}


@pytest.fixture(autouse=True)
async def waiting(identity: Identity) -> None:
    identity.issuer.devices["WDJB-MJHT"] = "openid read"
    await identity.register()
    await identity.register("mallory")


async def test_nobody_guesses_on(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.get("device")
    for _ in range(MOST):
        assert (await browser.submit(page, user_code="BBBB-BBBB")).status == 422
    refused = await browser.submit(page, user_code="WDJB-MJHT")
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) > 0
    # Another browser behind the same address is no way round it; and what fades is one guess after the other.
    other = identity.browser()
    page = await other.get("device")
    assert (await other.submit(page, user_code="WDJB-MJHT")).status == 429
    identity.clock.forward(seconds=identity.settings.sign_in_fade_seconds + 1)
    assert (await other.submit(page, user_code="BBBB-BBBB")).status == 422
    assert (await other.submit(page, user_code="WDJB-MJHT")).status == 429


async def test_who_is_signed_in_is_held_to_their_account_wherever_they_are(identity: Identity) -> None:
    tried = 0
    for address in ("192.0.2.7", "198.51.100.1", "203.0.113.9"):
        browser = identity.browser(address)
        await sign_in(browser, "mallory")
        page = await browser.get("device")
        for _ in range(2):
            tried += (await browser.submit(page, user_code="BBBB-BBBB")).status == 422
    assert tried == MOST


async def test_many_accounts_at_one_address_are_held_to_the_address(identity: Identity) -> None:
    tried = 0
    for number in range(3):
        await identity.register(f"mallory{number}")
        browser = identity.browser()
        await sign_in(browser, f"mallory{number}")
        page = await browser.get("device")
        for _ in range(MOST):
            tried += (await browser.submit(page, user_code="BBBB-BBBB")).status == 422
    assert tried == FROM_ONE_ADDRESS


async def test_it_keeps_nobody_else_out(identity: Identity) -> None:
    """Neither from signing in, nor, who is signed in, from letting a device of theirs in."""
    mallory = identity.browser()
    page = await mallory.get("device")
    for _ in range(MOST + 3):
        await mallory.submit(page, user_code="BBBB-BBBB")
    freddie = identity.browser()
    assert (await sign_in(freddie)).path == "/id/consent"
    page = await freddie.submit(await freddie.get("device"), user_code="WDJB-MJHT")
    assert page.path == "/id/consent"


async def test_right_codes_cost_nothing(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.get("device")
    for _ in range(MOST * 2):
        assert (await browser.submit(page, user_code="WDJB-MJHT")).path == "/id/signin"


async def test_looking_at_addresses_tells_nothing(identity: Identity) -> None:
    """A link tries no code: the answer is the same for every one, but for what stands in it."""
    texts = set()
    for code in ("WDJB-MJHT", "BBBB-BBBB"):
        page = await identity.browser().get(f"device?user_code={code}")
        assert page.status == 200
        texts.add(page.text)
    assert len(texts) == 1
