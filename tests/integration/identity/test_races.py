"""What happens between looking and writing: the fence refuses what was decided on a view that is no longer true."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.identity.events import SessionEndReason
from services.identity.opening import Opening
from services.identity.passwords import Passwords
from shared.errors import Unavailable
from tests.support.fake_issuer import CLIENT
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]) -> None:
    """Let something happen after the password was looked at, before the session is written; once."""
    verify = Passwords.verify
    done: list[bool] = []

    async def and_then(self: Passwords, stored: str | None, password: str) -> bool:
        right = await verify(self, stored, password)
        if not done:
            done.append(True)
            await act()
        return right

    monkeypatch.setattr(Passwords, "verify", and_then)


async def test_a_password_that_is_reset_meanwhile_lets_nobody_in(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = await identity.register()
    user = await identity.parts.questions.user(sub)
    assert user is not None
    between(
        monkeypatch,
        lambda: identity.parts.accounts.reset_password(user, "another-password", identity.context()),
    )
    page = await sign_in(identity.browser())
    assert page.status == 422
    assert "The name or the password is not right." in page.text
    assert await identity.facts("SessionStarted") == []


async def test_a_user_who_is_disabled_meanwhile_is_not_let_in(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = await identity.register()
    between(monkeypatch, lambda: identity.parts.accounts.disable(sub, "", identity.context(), by="brian"))
    page = await sign_in(identity.browser())
    assert page.status == 422
    assert await identity.facts("SessionStarted") == []


async def test_what_takes_nothing_away_stops_nobody(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    sub = await identity.register()

    async def disabled_and_enabled() -> None:
        await identity.parts.accounts.disable(sub, "", identity.context(), by="brian")
        await identity.parts.accounts.enable(sub, identity.context())

    between(monkeypatch, disabled_and_enabled)
    page = await sign_in(identity.browser())
    assert page.path == "/id/consent"
    assert len(await identity.facts("SessionStarted")) == 1


async def test_an_answer_from_a_session_that_has_just_ended_is_not_kept(identity: Identity) -> None:
    sub = await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    session = await identity.parts.sessions.current(browser.cookies()["stagedoor_session"], CLIENT)
    assert session is not None
    user = session.user
    await identity.parts.accounts.reset_password(user, "another-password", identity.context())
    with pytest.raises(Unavailable, match="too many changes"):
        await identity.parts.consents.give(session, CLIENT, ("read",), identity.context())
    assert await identity.facts("ConsentGiven") == []
    assert user.sub == sub


async def test_a_password_is_not_changed_from_a_session_that_has_just_ended(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    page = await browser.get("/id/account/password")
    session = await identity.parts.sessions.current(browser.cookies()["stagedoor_session"])
    assert session is not None
    await identity.parts.accounts.reset_password(session.user, "another-password", identity.context())
    page = await browser.submit(
        page,
        current_password="another-password",
        new_password="a-third-password",
        new_password_again="a-third-password",
    )
    assert page.path == "/id/signin"
    assert await identity.facts("PasswordChanged") == []


async def test_a_consent_page_that_outlived_the_session_leads_to_the_sign_in(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await sign_in(browser)
    identity.clock.forward(minutes=59)
    session = await identity.parts.sessions.current(browser.cookies()["stagedoor_session"])
    assert session is not None
    await identity.parts.accounts.reset_password(session.user, PASSWORD, identity.context())
    page = await browser.submit(page, decision="allow")
    assert page.path == "/id/signin"
    assert identity.issuer.issued == []
    page = await browser.submit(page, user_name="freddie", password=PASSWORD)
    assert page.path == "/id/consent"
    assert "code" in (await browser.submit(page, decision="allow")).answer


async def test_a_session_that_ends_while_it_is_proved_again_is_followed_by_a_new_one(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    page = await browser.get(authorization(prompt="login"))
    again = Opening._again

    async def ended(self: Opening, sid: str, *rest: Any) -> bool:
        await identity.parts.sessions.end(sid, SessionEndReason.ENDED_BY_ADMINISTRATOR, identity.context())
        return await again(self, sid, *rest)

    monkeypatch.setattr(Opening, "_again", ended)
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    assert "code" in page.answer
    started = [one.event.model_dump()["sid"] for one in await identity.facts("SessionStarted")]
    assert len(started) == 2
    assert identity.issuer.issued[-1].sid == started[-1]


async def test_fifty_sign_ins_at_once_are_fifty_sessions(identity: Identity) -> None:
    await identity.register()
    browsers = [identity.browser(f"198.51.100.{number}") for number in range(50)]
    pages = await asyncio.gather(*(browser.get(authorization()) for browser in browsers))
    answers = await asyncio.gather(
        *(
            browser.submit_once(page, user_name="freddie", password=PASSWORD, action="sign_in")
            for browser, page in zip(browsers, pages, strict=True)
        )
    )
    assert [page.status for page in answers] == [303] * 50
    assert len({browser.cookies()["stagedoor_session"] for browser in browsers}) == 50
    assert len(await identity.facts("SessionStarted")) == 50
