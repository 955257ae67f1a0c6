"""More than anybody means."""

from tests.support.identity_service import PASSWORD, Identity, authorization

FORM = {"content-type": "application/x-www-form-urlencoded"}


async def test_bodies(identity: Identity) -> None:
    browser = identity.browser()
    before = identity.parts.passwords.verifications
    for path in ("/id/signin", "/id/consent", "/id/connect/authorize", "/id/account/password"):
        answer = await browser.send("POST", path, content=b"a=" + b"b" * 70_000, headers=FORM)
        assert answer.status == 413, path
    assert identity.parts.passwords.verifications == before
    assert identity.issuer.begun == []


async def test_many_fields(identity: Identity) -> None:
    answer = await identity.browser().send("POST", "/id/signin", content="&".join(["a=b"] * 500), headers=FORM)
    assert answer.status == 400


async def test_a_password_of_many_pages_is_not_hashed(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await browser.get(authorization())
    page = await browser.submit(page, user_name="freddie", password="a" * 40_000, action="sign_in")
    assert page.status == 422


async def test_a_name_of_many_pages_costs_nothing(identity: Identity) -> None:
    browser = identity.browser()
    page = await browser.get(authorization())
    # U+FDFA becomes eighteen characters when it is normalised.
    page = await browser.submit(page, user_name="\ufdfa" * 3000, password=PASSWORD, action="sign_in")
    assert page.status == 422
    assert len(page.form.fields["user_name"]) == 256


async def test_a_request_as_large_as_an_application_may_make_it_still_goes_through(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    page = await browser.get(authorization(state="s" * 4000, login_hint="freddie"))
    page = await browser.submit(page, user_name="freddie", password=PASSWORD, action="sign_in")
    page = await browser.submit(page, decision="allow")
    assert page.answer["state"] == "s" * 4000


async def test_a_sealed_request_that_is_too_long_is_not_opened(identity: Identity) -> None:
    answer = await identity.browser().send("GET", "/id/consent", params={"request": "A" * 25_000})
    assert answer.status == 400
