import asyncio

import pytest

from tests.support.browsing import Browser, Page
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in

WRONG = "not-the-password"


async def fail(browser: Browser, times: int, user_name: str = "freddie") -> Page:
    page = await browser.get(authorization())
    for _ in range(times):
        page = await browser.submit(page, user_name=user_name, password=WRONG, action="sign_in")
    return page


async def test_after_ten_failures_waiting_is_needed(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await fail(browser, 10)
    assert page.status == 422
    before = identity.parts.passwords.verifications
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert page.status == 429
    assert page.headers["retry-after"] == "60"
    assert "too many attempts" in page.text
    assert identity.parts.passwords.verifications == before
    assert page.form.fields["password"] == ""

    # Knocking does not make it longer, and each minute admits one more.
    for _ in range(5):
        page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    identity.clock.forward(seconds=60)
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert page.path == "/id/consent"


async def test_nobody_keeps_freddie_out_from_elsewhere(identity: Identity) -> None:
    await identity.register()
    stranger = identity.browser("203.0.113.66")
    page = await fail(stranger, 11)
    assert page.status == 429
    assert (await sign_in(identity.browser("192.0.2.7"))).path == "/id/consent"


async def test_nobody_keeps_freddie_out_of_a_device_that_is_known(identity: Identity) -> None:
    await identity.register()
    own = identity.browser("192.0.2.7")
    await own.submit(await sign_in(own), decision="allow")
    neighbour = identity.browser("192.0.2.7")
    assert (await fail(neighbour, 11)).status == 429
    assert (await sign_in(neighbour)).status == 429
    page = await own.get(authorization(prompt="login"))
    page = await own.submit(page, user_name="freddie", password=PASSWORD)
    assert "code" in page.answer


async def test_a_known_device_has_a_budget_of_its_own_and_not_more(identity: Identity) -> None:
    await identity.register()
    own = identity.browser()
    await sign_in(own)
    page = await own.get("/id/signin")
    for _ in range(10):
        page = await own.submit(page, user_name="freddie", password=WRONG)
        assert page.status == 422
    assert (await own.submit(page, user_name="freddie", password=PASSWORD)).status == 429


async def test_a_device_vouches_only_for_accounts_that_signed_in_there(identity: Identity) -> None:
    await identity.register()
    await identity.register("brian", "red-special-1963")
    browser = identity.browser()
    await sign_in(browser)
    rows = "SELECT count(*) FROM sign_in_failures WHERE device <> '' AND failures > 0"
    page = await browser.get("/id/signin")
    page = await browser.submit(page, user_name="brian", password=WRONG)
    assert await identity.log.pool.fetchval(rows) == 0
    page = await browser.submit(page, user_name="freddie", password=WRONG)
    assert await identity.log.pool.fetchval(rows) == 1
    # After brian has signed in there, the device is known to both.
    page = await browser.submit(page, user_name="brian", password="red-special-1963")
    page = await browser.get("/id/signin")
    await browser.submit(page, user_name="brian", password=WRONG)
    page = await browser.get("/id/signin")
    await browser.submit(page, user_name="freddie", password=WRONG)
    assert await identity.log.pool.fetchval(rows) == 2


async def test_a_device_cookie_cannot_be_made_up(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await browser.get("/id/signin")
    form = f"stagedoor_form={browser.cookies()['stagedoor_form']}"
    fields = {**page.form.fields, "user_name": "freddie", "password": WRONG}
    for made_up in ("", "x" * 22, "x" * 22 + "." + "y" * 59, "é" * 22, "." * 10, "a" * 5000):
        header = {"cookie": f"{form}; stagedoor_device={made_up}".encode()}
        answer = await browser.send("POST", "/id/signin", data=fields, headers=header)
        assert answer.status == 422, made_up
    assert await identity.log.pool.fetchval("SELECT count(*) FROM sign_in_failures WHERE device <> ''") == 0


async def test_many_attempts_at_once_are_not_more_than_one_after_the_other(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await browser.get(authorization())
    before = identity.parts.passwords.verifications
    answers = await asyncio.gather(
        *(browser.submit(page, user_name="freddie", password=WRONG, action="sign_in") for _ in range(30))
    )
    assert sorted(answer.status for answer in answers) == [422] * 10 + [429] * 20
    assert identity.parts.passwords.verifications == before + 10


@pytest.mark.parametrize("settings", [{"address_failures": 15, "address_fade_seconds": 10}])
async def test_one_password_on_many_names_is_noticed_too(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.get(authorization())
    for number in range(15):
        page = await browser.submit(page, user_name=f"somebody-{number}", password=WRONG, action="sign_in")
        assert page.status == 422
    page = await browser.submit(page, user_name="somebody-else", password=WRONG, action="sign_in")
    assert page.status == 429


@pytest.mark.parametrize("settings", [{"address_failures": 3, "address_fade_seconds": 10}])
async def test_signing_in_costs_nothing(identity: Identity) -> None:
    await identity.register()
    for _ in range(6):
        assert (await sign_in(identity.browser())).path == "/id/consent"
    assert await identity.log.pool.fetchval("SELECT sum(failures) FROM sign_in_failures") == 0


async def test_the_counters_tell_neither_names_nor_addresses(identity: Identity) -> None:
    await fail(identity.browser("203.0.113.66"), 2)
    rows = await identity.log.pool.fetch("SELECT sign_in_failures::text AS text FROM sign_in_failures")
    assert len(rows) == 2
    assert all("freddie" not in row["text"] and "203.0.113" not in row["text"] for row in rows)


async def test_counters_that_have_faded_are_forgotten(identity: Identity) -> None:
    await identity.register()
    await fail(identity.browser("203.0.113.66"), 2)
    identity.clock.forward(hours=1)
    await sign_in(identity.browser("192.0.2.7"))
    assert await identity.log.pool.fetchval("SELECT count(*) FROM sign_in_failures WHERE failures > 0") == 0


async def test_the_clients_own_word_about_its_address_counts_nothing(identity: Identity) -> None:
    await identity.register()
    for number in range(10):
        await fail(identity.browser(f"203.0.113.{number}, 198.51.100.1"), 1)
    assert (await sign_in(identity.browser("192.0.2.99, 198.51.100.1"))).status == 429


@pytest.mark.parametrize("settings", [{"password_workers": 1, "password_queue": 1}])
async def test_past_the_queue_the_answer_is_to_try_again(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    await identity.register()
    passwords = identity.parts.passwords
    monkeypatch.setattr(passwords, "_pending", 2)
    page = await sign_in(identity.browser())
    assert page.status == 503
    assert page.headers["retry-after"] == "2"
    monkeypatch.setattr(passwords, "_pending", 0)
    assert (await sign_in(identity.browser())).path == "/id/consent"
