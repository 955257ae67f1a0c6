"""Finding out who has an account."""

import re

import pytest

from services.identity.events import Role, UserKind
from tests.support.browsing import Page
from tests.support.identity_service import PASSWORD, Identity, authorization


@pytest.fixture
async def _people(identity: Identity) -> None:
    await identity.register("freddie")
    gone = await identity.register("disabled")
    await identity.parts.accounts.disable(gone, "", identity.context(), by="brian")
    await identity.register("without", None)
    await identity.register("service", None, UserKind.SERVICE)
    gone = await identity.register("erased")
    brian = await identity.register("brian", None, UserKind.INTERNAL, Role.ADMINISTRATOR)
    await identity.parts.erasure.erase(gone, identity.context(), by=brian)


def told(page: Page, user_name: str) -> tuple[object, ...]:
    """All that an answer tells, but for what was typed and what is different every time."""
    text = page.response.text.replace(f'value="{user_name}"', 'value="NAME"')
    text = re.sub(r'name="(form|request)" value="[^"]*"', "", text)
    names = sorted(name for name in page.headers if name not in ("content-length", "correlation-id", "date"))
    return page.status, text, names


ATTEMPTS = {
    "unknown": ("nobody", PASSWORD),
    "wrong": ("freddie", "not-the-password"),
    "disabled": ("disabled", PASSWORD),
    "disabled, wrong": ("disabled", "not-the-password"),
    "erased": ("erased", PASSWORD),
    "erased, wrong": ("erased", "not-the-password"),
    "without a password": ("without", PASSWORD),
    "service": ("service", PASSWORD),
    "too short": ("freddie", "a"),
    "too long": ("freddie", "a" * 300),
    "a very long name": ("n" * 2000, PASSWORD),
}


@pytest.mark.usefixtures("_people")
async def test_the_answer_is_the_same_and_so_is_the_work(identity: Identity) -> None:
    found: dict[str, tuple[object, ...]] = {}
    for case, (user_name, password) in ATTEMPTS.items():
        browser = identity.browser(f"198.51.100.{len(found)}")
        page = await browser.get(authorization())
        before = identity.parts.passwords.verifications
        page = await browser.submit(page, user_name=user_name, password=password, action="sign_in")
        work = identity.parts.passwords.verifications - before
        found[case] = (*told(page, user_name[:256]), work)
    assert found["unknown"][0] == 422
    assert found["unknown"][-1] == 1
    assert "The name or the password is not right." in str(found["unknown"][1])
    for case, what in found.items():
        assert what == found["unknown"], case
    assert await identity.facts("SessionStarted") == []


@pytest.mark.usefixtures("_people")
async def test_throttling_does_not_tell_either(identity: Identity) -> None:
    found = []
    for number, user_name in enumerate(("freddie", "nobody", "erased")):
        browser = identity.browser(f"198.51.100.{number}")
        page = await browser.get(authorization())
        statuses = []
        for _ in range(12):
            page = await browser.submit(page, user_name=user_name, password="not-the-password", action="sign_in")
            statuses.append((page.status, page.headers.get("retry-after")))
        found.append((statuses, told(page, user_name)))
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("_people")
async def test_a_hint_is_not_looked_up(identity: Identity) -> None:
    pages = [await identity.browser().get(authorization(login_hint=name)) for name in ("freddie", "nobody", "erased")]
    assert told(pages[0], "freddie") == told(pages[1], "nobody") == told(pages[2], "erased")
