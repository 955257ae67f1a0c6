"""What an application, or who sent its link, writes into `state`, on the page that posts the answer back."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from tests.support.browsing import Browser, Page
from tests.support.fake_issuer import CALLBACK
from tests.support.identity_service import Identity, authorization, sign_in

EVIL = [
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    '"></form><form action="https://evil.example"><input name="code',
    "</script><script>alert(1)</script>",
    "{{31337*7}}{% raw %}",
    "&quot;&#34;>",
    "javascript:alert(1)",
]


async def posting(browser: Browser, **parameters: str) -> Page:
    return await browser.get(authorization(response_mode="form_post", **parameters))


def policy(page: Page) -> dict[str, str]:
    parts = page.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


@pytest.mark.parametrize("state", EVIL)
async def test_it_stays_a_value(identity: Identity, state: str) -> None:
    page = await posting(identity.browser(), state=state, response_type="token")
    assert len(page.forms) == 1
    assert page.form.action == CALLBACK
    assert page.form.fields == {"error": "unsupported_response_type", "state": state}
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]
    assert "219359" not in page.response.text
    assert [tag for tag, _ in page.tags].count("script") == 1


async def test_the_one_script_is_the_one_that_the_policy_names(identity: Identity) -> None:
    page = await posting(identity.browser(), response_type="token")
    (script,) = re.findall(r"<script>(.*?)</script>", page.response.text)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert policy(page) == {
        "default-src": "'none'",
        "style-src": "'self'",
        "img-src": "'self'",
        "script-src": f"'sha256-{digest}'",
        "form-action": "http://localhost:8480",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "strict-origin"


async def test_the_code_is_in_no_address(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    consent = await sign_in(browser, response_mode="form_post")
    page = await browser.submit(consent, decision="allow")
    assert (page.status, page.form.method, page.form.action) == (200, "post", CALLBACK)
    assert page.form.fields == {"code": "code-1", "state": "st4te"}
    assert "location" not in page.headers
    again = await posting(browser)
    assert again.form.fields["code"] == "code-2"
    assert "code-2" not in again.url


async def test_a_no_travels_the_same_way(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    silent = await posting(browser, prompt="none")
    assert silent.form.fields == {"error": "login_required", "state": "st4te"}
    consent = await sign_in(browser, response_mode="form_post")
    page = await browser.submit(consent, decision="deny")
    assert page.form.fields == {"error": "access_denied", "state": "st4te"}
