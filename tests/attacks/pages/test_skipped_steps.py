"""Going straight to a later page, or back to an earlier request, to get a code that was not earned."""

from base64 import urlsafe_b64decode

import pytest

from tests.support.browsing import Browser, Page
from tests.support.identity_service import PASSWORD, Identity, authorization, sign_in


@pytest.fixture
async def freddie(identity: Identity) -> Browser:
    await identity.register()
    browser = identity.browser()
    await browser.submit(await sign_in(browser), decision="allow")
    identity.issuer.issued.clear()
    return browser


async def allow(browser: Browser, page: Page, sealed: str) -> Page:
    """Answer a consent page that was shown for another request, in the name of this one."""
    return await browser.send("POST", "/id/consent", data={**page.form.fields, "request": sealed, "decision": "allow"})


@pytest.mark.parametrize("demand", [{"prompt": "login"}, {"max_age": "0"}, {"prompt": "login consent"}])
async def test_the_sign_in_that_was_asked_for(identity: Identity, freddie: Browser, demand: dict[str, str]) -> None:
    page = await freddie.get(authorization(**demand))
    sealed = page.form.fields["request"]
    for _ in range(2):
        page = await freddie.get("/id/consent", params={"request": sealed})
        assert page.path == "/id/signin"
    page = await freddie.get("/id/signin/choose", params={"request": sealed})
    assert page.path == "/id/signin"
    assert identity.issuer.issued == []


async def test_the_form_of_another_request(identity: Identity, freddie: Browser) -> None:
    sealed = (await freddie.get(authorization(prompt="login"))).form.fields["request"]
    other = await freddie.get(authorization(prompt="consent"))
    assert (await allow(freddie, other, sealed)).status == 403
    assert identity.issuer.issued == []


async def test_a_sign_in_from_before_the_request(identity: Identity, freddie: Browser) -> None:
    earlier = await freddie.get(authorization(prompt="login"))
    await freddie.submit(earlier, user_name="freddie", password=PASSWORD)
    assert len(identity.issuer.issued) == 1
    page = await freddie.get(authorization(prompt="login"))
    assert page.path == "/id/signin"
    page = await freddie.get("/id/consent", params={"request": page.form.fields["request"]})
    assert page.path == "/id/signin"
    assert len(identity.issuer.issued) == 1


async def test_the_consent_that_was_asked_for(identity: Identity, freddie: Browser) -> None:
    page = await freddie.get(authorization(prompt="consent"))
    sealed = page.form.fields["request"]
    for path in ("/id/consent", "/id/signin/choose"):
        page = await freddie.get(path, params={"request": sealed})
        assert page.path == "/id/consent"
    signin = await freddie.get("/id/signin", params={"request": sealed})
    page = await freddie.submit(signin, user_name="freddie", password=PASSWORD)
    assert page.path == "/id/consent"
    assert identity.issuer.issued == []


async def test_the_choice_that_was_asked_for(identity: Identity, freddie: Browser) -> None:
    sealed = (await freddie.get(authorization(prompt="select_account"))).form.fields["request"]
    page = await freddie.get("/id/consent", params={"request": sealed})
    assert page.path == "/id/signin/choose"
    assert identity.issuer.issued == []


async def test_the_choice_of_another_session(identity: Identity, freddie: Browser) -> None:
    await identity.register("brian", "red-special-1963")
    brian = identity.browser()
    await brian.submit(await sign_in(brian, "brian", "red-special-1963"), decision="allow")
    page = await freddie.get(authorization(prompt="select_account consent"))
    page = await freddie.submit(page)
    assert page.path == "/id/consent"
    chosen_by_freddie = page.form.fields["request"]
    identity.issuer.issued.clear()
    page = await brian.get("/id/consent", params={"request": chosen_by_freddie})
    assert page.path == "/id/signin/choose"
    assert identity.issuer.issued == []


async def test_the_right_person(identity: Identity, freddie: Browser) -> None:
    page = await freddie.get(authorization(id_token_hint="brian-sub", prompt="consent"))
    page = await freddie.get("/id/consent", params={"request": page.form.fields["request"]})
    assert page.path == "/id/signin"
    other = await freddie.get(authorization(prompt="consent"))
    assert (await allow(freddie, other, page.form.fields["request"])).status == 403
    assert identity.issuer.issued == []


async def test_a_request_that_was_changed(identity: Identity, freddie: Browser) -> None:
    page = await freddie.get(authorization(prompt="consent"))
    sealed = page.form.fields["request"]
    logout = (await freddie.get("/id/connect/endsession")).form.fields["request"]
    middle = len(sealed) // 2
    flipped = sealed[:middle] + ("A" if sealed[middle] != "A" else "B") + sealed[middle + 1 :]
    for changed in (flipped, sealed[:-4], sealed + "AAAA", "", "é" * 40, logout):
        for path in ("/id/consent", "/id/signin/choose"):
            answer = await freddie.get(path, params={"request": changed})
            assert answer.status == 400, changed
        assert (await allow(freddie, page, changed)).status == 400, changed
    assert identity.issuer.issued == []


async def test_a_request_that_is_too_old(identity: Identity, freddie: Browser) -> None:
    page = await freddie.get(authorization(prompt="consent"))
    identity.clock.forward(hours=1, seconds=1)
    answer = await freddie.get("/id/consent", params={"request": page.form.fields["request"]})
    assert answer.status == 400
    assert identity.issuer.issued == []


async def test_what_is_sealed_tells_nothing(freddie: Browser) -> None:
    page = await freddie.get(authorization(prompt="consent", login_hint="freddie@example.com"))
    sealed = page.form.fields["request"]
    raw = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    assert b"backstagehub" not in raw.lower()
    assert b"freddie" not in raw
