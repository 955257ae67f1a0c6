"""Guessing six digits with the right password at hand, from one place or from very many."""

import asyncio

import pytest

from services.identity.second_factor import SecondFactor
from tests.support.browsing import Browser, Page
from tests.support.identity_service import PASSWORD, Identity, authorization
from tests.support.second_factor import CODE, PAGE, Telephone, freddie_with, send, to_the_code


@pytest.fixture
async def freddie(identity: Identity) -> tuple[Browser, Telephone]:
    return await freddie_with(identity)


async def guess(browser: Browser, telephone: Telephone, times: int) -> Page:
    page = await to_the_code(browser)
    for _ in range(times):
        page = await browser.submit(page, code=telephone.wrong())
    return page


async def test_from_one_address(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    stranger = identity.browser("203.0.113.66")
    page = await guess(stranger, freddie[1], 10)
    assert page.status == 422
    page = await stranger.submit(page, code=freddie[1].code())
    assert page.status == 429
    assert int(page.headers["retry-after"]) > 0
    assert page.form.fields["code"] == ""
    # Waiting helps, and only waiting.
    identity.clock.forward(seconds=300)
    assert (await stranger.submit(page, code=freddie[1].wrong())).status == 422
    assert (await stranger.submit(page, code=freddie[1].code())).status == 429


async def test_from_very_many_addresses(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    statuses = [(await guess(identity.browser(f"203.0.113.{number}"), freddie[1], 1)).status for number in range(1, 31)]
    assert statuses == [422] * 10 + [429] * 20


async def test_his_own_device_is_not_kept_out_by_it(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    own, telephone = freddie
    for number in range(1, 13):
        await guess(identity.browser(f"203.0.113.{number}"), telephone, 1)
    page = await own.get(authorization(prompt="login"))
    page = await own.submit(page, user_name="freddie", password=PASSWORD)
    page = await own.submit(page, code=telephone.code())
    assert "code" in page.answer


async def test_nobody_is_kept_out_by_who_does_not_know_the_password(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    stranger = identity.browser("203.0.113.66")
    page = await stranger.get(authorization())
    for _ in range(15):
        page = await stranger.submit(page, user_name="freddie", password="not-the-password", action="sign_in")
    browser = identity.browser()
    page = await browser.submit(await to_the_code(browser), code=freddie[1].code())
    assert "code" in page.answer


async def test_at_once(identity: Identity, freddie: tuple[Browser, Telephone], monkeypatch: pytest.MonkeyPatch) -> None:
    """As many guesses at the same moment are no more guesses."""
    looked: list[str] = []
    by_seed = SecondFactor._by_seed

    def counted(self: SecondFactor, *arguments: object) -> object:
        looked.append("code")
        return by_seed(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SecondFactor, "_by_seed", counted)
    browsers = [identity.browser(f"203.0.113.{number}") for number in range(1, 26)]
    pages = [await to_the_code(browser) for browser in browsers]
    wrong = freddie[1].wrong()
    answers = await asyncio.gather(*(b.submit(p, code=wrong) for b, p in zip(browsers, pages, strict=True)))
    assert {answer.status for answer in answers} == {422, 429}
    assert len(looked) <= 10


async def test_the_right_password_in_between_gives_no_new_guesses(
    identity: Identity, freddie: tuple[Browser, Telephone]
) -> None:
    statuses = [(await guess(identity.browser(), freddie[1], 1)).status for _ in range(12)]
    assert statuses == [422] * 10 + [429] * 2


async def test_on_his_own_page(identity: Identity, freddie: tuple[Browser, Telephone]) -> None:
    """From a session that was left open, with the password at hand."""
    own, telephone = freddie
    page = await own.get(PAGE)
    statuses = []
    for _ in range(12):
        answer = await send(own, page, f"{PAGE}/remove", password=PASSWORD, code=telephone.wrong())
        statuses.append(answer.status)
    assert statuses == [422] * 10 + [429] * 2
    assert (await send(own, page, f"{PAGE}/remove", password=PASSWORD, code=telephone.code())).status == 429
    assert await identity.facts("SecondFactorRemoved") == []


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "0",
        "12345",
        "1234567",
        "12345a",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "-12345",
        "+12345",
        "1e5000",
        "\x00" * 6,
        "a" * 5000,
    ],
)
async def test_what_is_no_code_at_all(identity: Identity, freddie: tuple[Browser, Telephone], typed: str) -> None:
    browser = identity.browser()
    page = await to_the_code(browser)
    assert page.path == CODE
    answer = await browser.submit(page, code=typed)
    assert answer.status in (400, 422)
    assert "stagedoor_session" not in browser.cookies()
    assert len(freddie[1].recovery_codes) == 10
