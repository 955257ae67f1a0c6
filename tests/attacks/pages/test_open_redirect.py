"""Open redirects (RFC 9700 section 4.11)."""

from tests.support.identity_service import ISSUER, PASSWORD, Identity, authorization

EVIL = "https://evil.example/"
PARAMETERS = ["next", "then", "return_to", "returnUrl", "redirect", "redirect_uri", "url", "continue", "request"]


async def test_no_parameter_of_a_page_is_an_address(identity: Identity) -> None:
    await identity.register()
    for name in PARAMETERS:
        await lead_astray(identity, name)


async def lead_astray(identity: Identity, name: str) -> None:
    browser = identity.browser()
    for path in ("/id/signin", "/id/account", "/id/account/password", "/id/signedout", "/id/consent"):
        for value in (EVIL, "//evil.example", "/\\evil.example"):
            answer = await browser.send("GET", path, params={name: value})
            assert "evil.example" not in answer.headers.get("location", "")
            assert "evil.example" not in answer.response.text
    page = await browser.get("/id/signin")
    fields = {**page.form.fields, name: EVIL} if name != "request" else page.form.fields
    answer = await browser.send("POST", "/id/signin", data={**fields, "user_name": "freddie", "password": PASSWORD})
    assert answer.location == f"{ISSUER}/account"


async def test_addresses_are_the_issuers_whatever_the_request_says(identity: Identity) -> None:
    await identity.register()
    for headers in (
        {"host": "evil.example"},
        {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https"},
        {"forwarded": "host=evil.example"},
        {"x-original-url": "/evil", "x-rewrite-url": "/evil"},
    ):
        browser = identity.browser()
        page = await browser.send("GET", authorization(), headers=headers)
        assert page.location.startswith(f"{ISSUER}/signin?request=")
        page = await browser.send("GET", page.location, headers=headers)
        assert "evil" not in page.response.text
        assert "evil" not in str(page.headers)
        assert page.form.action == "/id/signin"


async def test_paths_are_taken_literally(identity: Identity) -> None:
    browser = identity.browser()
    for path in ("//evil.example/id/signin", "/id//evil.example", "/id/signin/", "/id/../evil", "/id"):
        answer = await browser.send("GET", f"http://127.0.0.1:8400{path}")
        assert answer.status == 404, path
        assert "location" not in answer.headers
