"""A code that was looked over somebody's shoulder, or sent twice at once."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.browsing import Browser, Page
from tests.support.identity_service import PASSWORD, Identity, authorization, start
from tests.support.postgres import Database
from tests.support.second_factor import (
    CODE,
    DEMAND,
    PAGE,
    Telephone,
    freddie_with,
    seed_on,
    send,
    to_the_code,
)


@pytest.fixture
async def freddie(identity: Identity) -> tuple[Browser, Telephone]:
    return await freddie_with(identity)


async def signed_in(identity: Identity, code: str) -> bool:
    browser = identity.browser()
    page = await browser.submit(await to_the_code(browser), code=code)
    return page.status != 422


async def test_a_code_in_its_own_step_again(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    code = freddie[1].code()
    assert await signed_in(identity, code)
    assert not await signed_in(identity, code)
    # In the next step it would still be within the window.
    freddie[1].wait()
    assert not await signed_in(identity, code)
    assert await signed_in(identity, freddie[1].code())


async def test_the_code_it_was_turned_on_with(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await browser.get("/id/signin"), user_name="freddie", password=PASSWORD)
    page = await browser.submit_once(await browser.get(PAGE), password=PASSWORD)
    telephone = Telephone(identity, seed_on(page))
    code = telephone.code()
    await browser.submit_once(page, code=code)
    assert len(await identity.facts("SecondFactorAdded")) == 1
    assert not await signed_in(identity, code)
    assert await signed_in(identity, telephone.wait())


@pytest.mark.parametrize("kind", ["code", "recovery code"])
async def test_at_two_replicas_in_the_same_moment(
    identity: Identity,
    freddie: tuple[Browser, Telephone],
    database: Database,
    tmp_path: Path,
    kind: str,
) -> None:
    telephone = freddie[1]
    code = telephone.code() if kind == "code" else telephone.recovery_codes[5]
    before = len(await identity.facts("SessionStarted"))
    async with AsyncExitStack() as stack:
        replica = await start(stack, database, tmp_path, {}, beside=identity)
        browsers = [one.browser() for one in (identity, replica) for _ in range(3)]
        pages = [await to_the_code(browser) for browser in browsers]

        async def attempt(browser: Browser, page: Page) -> Page:
            return await browser.submit_once(page, code=code)

        answers = await asyncio.gather(*(attempt(b, p) for b, p in zip(browsers, pages, strict=True)))
    assert sorted(answer.status for answer in answers) == [303, 422, 422, 422, 422, 422]
    assert len(await identity.facts("SessionStarted")) == before + 1
    assert sum("stagedoor_session" in browser.cookies() for browser in browsers) == 1


async def test_a_recovery_code_twice(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    code = freddie[1].recovery_codes[0]
    assert await signed_in(identity, code)
    assert not await signed_in(identity, code)
    identity.clock.forward(days=30)
    assert not await signed_in(identity, code)


async def test_a_recovery_code_whose_row_came_back_with_a_back_up(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    kept = await identity.log.pool.fetch("SELECT sub, kind, value FROM vault WHERE kind LIKE 'recovery%'")
    assert await signed_in(identity, freddie[1].recovery_codes[0])
    await identity.log.pool.execute("DELETE FROM vault WHERE kind LIKE 'recovery%'")
    for row in kept:
        await identity.log.pool.execute("INSERT INTO vault (sub, kind, value) VALUES ($1, $2, $3)", *row)
    assert not await signed_in(identity, freddie[1].recovery_codes[0])
    assert await signed_in(identity, freddie[1].recovery_codes[1])


async def test_from_one_use_to_another(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    """A code that signed somebody in turns nothing off, and the other way round; nor does it step up."""
    own, telephone = freddie
    code = telephone.code()
    page = await own.get(PAGE)
    assert await signed_in(identity, code)
    for path in (f"{PAGE}/remove", f"{PAGE}/recovery-codes"):
        assert (await send(own, page, path, password=PASSWORD, code=code)).status == 422
    assert (await own.submit(await own.get(authorization(claims=DEMAND)), code=code)).status == 422
    code = telephone.wait()
    assert (await send(own, page, f"{PAGE}/recovery-codes", password=PASSWORD, code=code)).status == 200
    assert not await signed_in(identity, code)
    assert await identity.facts("SecondFactorRemoved") == []
    assert await identity.facts("SessionSteppedUp") == []


async def test_a_code_of_somebody_else(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    await identity.register("brian", "red-special-1963")
    brian = identity.browser()
    page = await brian.get(authorization())
    await brian.submit(page, user_name="brian", password="red-special-1963")
    page = await brian.submit_once(await brian.get(PAGE), password="red-special-1963")
    of_brian = Telephone(identity, seed_on(page))
    await brian.submit_once(page, code=of_brian.code())
    identity.clock.forward(seconds=60)
    browser = identity.browser()
    page = await to_the_code(browser)
    assert page.path == CODE
    assert (await browser.submit(page, code=of_brian.code())).status == 422
    assert (await browser.submit(page, code=freddie[1].code())).status != 422
