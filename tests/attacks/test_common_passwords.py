"""Passwords that guessing begins with: a few guesses at each of many accounts stay below every limit for failures.

OWASP ASVS 5.0, 6.2.4: at least the 3,000 most frequent ones of the permitted lengths are not accepted.
"""

import pytest

from services.identity.common_passwords import most_frequent
from services.identity.domain.names import normalised, plausible_password, valid_password
from shared.errors import Refusal
from tests.support.browsing import Browser
from tests.support.identity_service import PASSWORD, Identity, sign_in
from tests.support.identity_service import _database as _database  # noqa: PLC0414  (a fixture, as the next ones)
from tests.support.identity_service import database as database  # noqa: PLC0414
from tests.support.identity_service import identity as identity  # noqa: PLC0414
from tests.support.identity_service import settings as settings  # noqa: PLC0414

SPELLINGS = ("password1", "PassWord1", "ｐａｓｓｗｏｒｄ１", "password1 ")  # noqa: RUF001  (full width, on purpose)


def test_enough_of_them_are_known_in_the_form_in_which_they_are_compared() -> None:
    assert len(most_frequent()) >= 3000
    assert all(plausible_password(one) and normalised(one) == one for one in most_frequent())


@pytest.mark.parametrize("password", SPELLINGS)
def test_none_is_set_by_an_operator(password: str) -> None:
    with pytest.raises(Refusal, match="many people have"):
        valid_password(password, "freddie", most_frequent())


async def test_none_is_chosen_by_a_user(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await sign_in(browser)
    page = await changed(browser, "iloveyou")
    assert page == 422
    assert await identity.facts("PasswordChanged") == []
    assert await changed(browser, "iloveyou-and-the-cat") == 200


async def changed(browser: Browser, wanted: str) -> int:
    page = await browser.get("/id/account/password")
    answer = await browser.submit(page, current_password=PASSWORD, new_password=wanted, new_password_again=wanted)
    return answer.status
