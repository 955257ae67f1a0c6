import pytest
from argon2 import PasswordHasher

from services.identity.events import PasswordChanged, SessionStarted
from tests.support.browsing import Browser, Page
from tests.support.identity_service import PASSWORD, Identity, sign_in

NEW = "crazy-little-thing"


@pytest.fixture
async def browser(identity: Identity) -> Browser:
    await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    return browser


async def change(browser: Browser, current: str = PASSWORD, new: str = NEW, again: str | None = None) -> Page:
    page = await browser.get("/id/account/password")
    return await browser.submit(
        page, current_password=current, new_password=new, new_password_again=new if again is None else again
    )


async def test_a_change_is_one_fact_and_one_hash(identity: Identity, browser: Browser) -> None:
    before = await hashes(identity)
    page = await change(browser)
    assert page.path == "/id/account"
    (changed,) = await identity.facts("PasswordChanged")
    (started,) = await identity.facts("SessionStarted")
    assert isinstance(started.event, SessionStarted)
    assert changed.event == PasswordChanged(sub=started.event.sub, kept_session=started.event.sid)
    after = await hashes(identity)
    assert len(after) == 1
    assert after != before
    assert after[0].startswith("$argon2id$")
    for row in await identity.log.read_rows(identity.began, limit=100):
        assert "argon2" not in row.data
        assert NEW not in row.data


async def hashes(identity: Identity) -> list[str]:
    rows = await identity.log.pool.fetch("SELECT value FROM vault WHERE kind = 'password'")
    return [row["value"].decode() for row in rows]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("not-the-password", NEW, NEW), "The password you have now is not right."),
        ((PASSWORD, "short", "short"), "at least 8 characters"),
        ((PASSWORD, "freddie-", "freddie-x"), "not the same twice"),
        (("", NEW, NEW), "The password you have now is not right."),
    ],
)
async def test_what_is_refused(identity: Identity, browser: Browser, typed: tuple[str, str, str], words: str) -> None:
    page = await change(browser, *typed)
    assert page.status == 422
    assert words in page.text
    alerts = [given for _, given in page.tags if given.get("role") == "alert"]
    assert len(alerts) == 1
    assert all(value not in page.response.text for value in (NEW, PASSWORD))
    assert await identity.facts("PasswordChanged") == []


async def test_guessing_the_current_one_is_throttled_like_signing_in(identity: Identity, browser: Browser) -> None:
    for _ in range(10):
        assert (await change(browser, "not-the-password")).status == 422
    page = await change(browser)
    assert page.status == 429
    assert page.headers["retry-after"] == "60"
    assert await identity.facts("PasswordChanged") == []


async def test_who_is_not_signed_in_signs_in_first_and_comes_back(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await browser.get("/id/account/password")
    assert page.path == "/id/signin"
    page = await browser.submit(page, user_name="freddie", password=PASSWORD)
    assert page.path == "/id/account/password"


@pytest.mark.parametrize("settings", [{"argon2_time_cost": 2}])
@pytest.mark.usefixtures("browser")
async def test_a_hash_of_other_days_is_renewed_by_signing_in(identity: Identity) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    await identity.log.pool.execute("UPDATE vault SET value = $1 WHERE kind = 'password'", old.encode())
    assert (await sign_in(identity.browser())).path == "/id/consent"
    (renewed,) = await hashes(identity)
    assert "t=2" in renewed
    assert (await sign_in(identity.browser())).path == "/id/consent"
