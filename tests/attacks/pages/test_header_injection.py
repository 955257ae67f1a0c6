"""Values that begin another header."""

import pytest

from shared.pages.rendering import see_other
from tests.support.fake_issuer import CALLBACK
from tests.support.identity_service import Identity, authorization, sign_in


@pytest.mark.parametrize(
    "redirect",
    [
        f"{CALLBACK}?code=x\r\nSet-Cookie: stagedoor_session=planted",
        f"{CALLBACK}\nX-Evil: 1",
        f"{CALLBACK} x",
        f"{CALLBACK}\x00",
        f"{CALLBACK}é",
        "",
    ],
)
def test_an_address_that_would_be_another_header(redirect: str) -> None:
    """Should the issuer ever answer with one."""
    with pytest.raises(ValueError, match="visible ASCII"):
        see_other(redirect)


async def test_what_an_application_sends_stays_a_value(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    for state in ("a\r\nSet-Cookie: x=y", "a%0d%0aSet-Cookie: x=y", "\u2028", "é"):
        page = await browser.get(authorization(state=state))
        assert page.answer["state"] == state
        assert [name for name in page.headers if name.lower() == "set-cookie"] == []
