from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from services.identity.events import SessionEndReason, SessionStarted
from shared.ids import digest
from tests.support.browsing import Browser
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in, start
from tests.support.postgres import Database


async def signed_in(identity: Identity, address: str = "192.0.2.7") -> Browser:
    browser = identity.browser(address)
    await browser.submit(await sign_in(browser), decision="allow")
    return browser


async def holds(browser: Browser) -> bool:
    page = await browser.get("/id/account")
    return page.path == "/id/account"


async def sids(identity: Identity) -> list[str]:
    facts = await identity.facts("SessionStarted")
    return [one.event.sid for one in facts if isinstance(one.event, SessionStarted)]


async def test_only_the_digest_of_the_cookie_is_kept(identity: Identity) -> None:
    await identity.register()
    browser = await signed_in(identity)
    secret = browser.cookies()["stagedoor_session"]
    (fact,) = await identity.facts("SessionStarted")
    assert isinstance(fact.event, SessionStarted)
    assert fact.event.secret_digest == digest(secret)
    assert fact.event.sid not in secret
    assert fact.event.address is not None
    assert fact.event.address.reveal() == "192.0.2.7"
    for row in await identity.log.read_rows(identity.began, limit=100):
        assert secret not in row.data
        assert "192.0.2.7" not in row.data


async def test_a_session_idles_out(identity: Identity) -> None:
    await identity.register()
    browser = await signed_in(identity)
    identity.clock.forward(hours=11, minutes=59)
    assert await holds(browser)
    identity.clock.forward(hours=11, minutes=59)
    assert await holds(browser)
    identity.clock.forward(hours=12)
    assert not await holds(browser)


async def test_a_session_ends_after_seven_days_however_busy(identity: Identity) -> None:
    await identity.register()
    browser = await signed_in(identity)
    for _ in range(14):
        identity.clock.forward(hours=11, minutes=59)
        assert await holds(browser)
    identity.clock.forward(hours=2)
    assert not await holds(browser)


async def test_use_is_noted_once_a_minute(identity: Identity) -> None:
    await identity.register()
    browser = await signed_in(identity)
    began = identity.clock.now

    async def seen() -> object:
        return await identity.log.pool.fetchval("SELECT seen_at FROM session_activity")

    identity.clock.forward(seconds=59)
    await browser.get("/id/account")
    assert await seen() == began
    identity.clock.forward(seconds=1)
    await browser.get("/id/account")
    assert await seen() == identity.clock.now


async def test_what_has_idled_out_is_forgotten_and_stays_over(identity: Identity) -> None:
    await identity.register()
    old = await signed_in(identity)
    identity.clock.forward(hours=13)
    new = await signed_in(identity)
    identity.clock.forward(minutes=2)
    assert await holds(new)
    assert await identity.log.pool.fetchval("SELECT count(*) FROM session_activity") == 1
    assert not await holds(old)


async def test_a_session_that_was_ended_is_over(identity: Identity) -> None:
    await identity.register()
    browser = await signed_in(identity)
    (sid,) = await sids(identity)
    await identity.parts.sessions.end(sid, SessionEndReason.ENDED_BY_ADMINISTRATOR, identity.context())
    assert not await holds(browser)
    page = await browser.get(authorization())
    assert page.path == "/id/signin"
    page = await browser.submit(page, user_name="freddie", password=PASSWORD)
    assert "code" in page.answer
    assert len(await sids(identity)) == 2


async def test_a_disabled_user_has_no_session_until_enabled(identity: Identity) -> None:
    sub = await identity.register()
    browser = await signed_in(identity)
    await identity.parts.accounts.disable(sub, "", identity.context(), by="brian")
    assert not await holds(browser)
    await identity.parts.accounts.enable(sub, identity.context())
    assert await holds(browser)


async def test_a_reset_of_the_password_ends_all_sessions(identity: Identity) -> None:
    sub = await identity.register()
    here, there = await signed_in(identity), await signed_in(identity)
    user = await identity.parts.questions.user(sub)
    assert user is not None
    await identity.parts.accounts.reset_password(user, "another-password", identity.context())
    assert not await holds(here)
    assert not await holds(there)
    assert (await sign_in(identity.browser())).status == 422
    assert "code" in (await sign_in(identity.browser(), secret="another-password")).answer


async def test_a_changed_password_keeps_the_one_session(identity: Identity) -> None:
    await identity.register()
    here, there = await signed_in(identity), await signed_in(identity)
    page = await here.get("/id/account/password")
    page = await here.submit(
        page,
        current_password=PASSWORD,
        new_password="crazy-little-thing",
        new_password_again="crazy-little-thing",
    )
    assert page.path == "/id/account"
    assert "Your password is changed" in page.text
    assert await holds(here)
    assert not await holds(there)
    assert (await sign_in(identity.browser())).status == 422
    assert "code" in (await sign_in(identity.browser(), secret="crazy-little-thing")).answer


async def test_two_changes_in_a_row_leave_only_the_last_session(identity: Identity) -> None:
    await identity.register()
    first = await signed_in(identity)
    passwords = [PASSWORD, "crazy-little-thing", "another-one-bites"]
    second = first
    for old, new in pairwise(passwords):
        second = identity.browser()
        await sign_in(second, secret=old)
        page = await second.get("/id/account/password")
        await second.submit(page, current_password=old, new_password=new, new_password_again=new)
    assert not await holds(first)
    assert await holds(second)


async def test_every_replica_knows_every_session(identity: Identity, database: Database, tmp_path: Path) -> None:
    await identity.register()
    browser = await signed_in(identity)
    async with AsyncExitStack() as stack:
        other = await start(stack, database, tmp_path, {}, beside=identity)
        there = Browser(other.app, other.settings.issuer)
        there.client.cookies = browser.client.cookies
        assert await holds(there)
        page = await there.get(authorization(prompt="consent"))
        # Shown by one replica, answered to the other.
        assert "code" in (await browser.submit(page, decision="allow")).answer


@pytest.mark.parametrize("settings", [{"session_idle_seconds": 60, "session_seconds": 120}])
async def test_both_limits_are_settings(identity: Identity) -> None:
    await identity.register()
    browser = await signed_in(identity)
    identity.clock.forward(seconds=59)
    assert await holds(browser)
    identity.clock.forward(seconds=60)
    assert not await holds(browser)
