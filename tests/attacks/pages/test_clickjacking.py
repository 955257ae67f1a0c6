"""Clickjacking, and whatever else a page could be made to do inside another one."""

import pytest

from services.identity.pages.site import TEMPLATES
from shared.pages.rendering import Pages
from tests.support.browsing import Page
from tests.support.identity_service import ISSUER, Identity, authorization, sign_in


def policy(page: Page) -> dict[str, list[str]]:
    directives = [part.split() for part in page.headers["content-security-policy"].split("; ")]
    return {name: values for name, *values in directives}


def strict(page: Page) -> bool:
    found = policy(page)
    return (
        found["default-src"] == ["'none'"]
        and found["style-src"] == ["'self'"]
        and found["frame-ancestors"] == ["'none'"]
        and found["base-uri"] == ["'none'"]
        and "script-src" not in found
        and page.headers["x-frame-options"] == "DENY"
        and page.headers["x-content-type-options"] == "nosniff"
        and page.headers["cache-control"] == "no-store"
        and page.headers["referrer-policy"] == "same-origin"
    )


async def test_every_page(identity: Identity) -> None:
    await identity.register()
    browser = identity.browser()
    signin = await browser.get(authorization())
    consent = await sign_in(browser)
    pages = [
        signin,
        consent,
        await browser.get(authorization(prompt="select_account")),
        await browser.get("/id/account"),
        await browser.get("/id/account/password"),
        await browser.get("/id/connect/endsession"),
        await browser.get("/id/signedout"),
        await browser.get("/id/nowhere"),
        await browser.get(authorization(client_id="unknown")),
    ]
    assert [page.status for page in pages] == [200, 200, 200, 200, 200, 200, 200, 404, 400]
    assert all(strict(page) for page in pages)
    for page in pages:
        assert "<script" not in page.response.text.lower()
        assert "style=" not in page.response.text.lower()
        assert 'lang="en"' in page.response.text


@pytest.mark.parametrize(
    ("redirect_uri", "target"),
    [
        ("http://localhost:8480/callback", "http://localhost:8480"),
        ("https://app.example/cb?x=1", "https://app.example"),
        ("com.example.app:/callback", "com.example.app:"),
    ],
)
async def test_forms_lead_here_and_to_the_application_alone(identity: Identity, redirect_uri: str, target: str) -> None:
    await identity.register()
    identity.issuer.change(redirect_uri=redirect_uri)
    page = await identity.browser().get(authorization(redirect_uri=redirect_uri))
    assert policy(page)["form-action"] == ["'self'", target]
    consent = await sign_in(identity.browser(), redirect_uri=redirect_uri)
    assert policy(consent)["form-action"] == ["'self'", target]
    assert policy(await identity.browser().get("/id/signin"))["form-action"] == ["'self'"]


@pytest.mark.parametrize(
    "origin", ["https://app.example; script-src *", "https://app.example *", "javascript:", "data:", "*", "https:", ""]
)
def test_a_policy_cannot_be_written_into(origin: str) -> None:
    pages = Pages(ISSUER, TEMPLATES, demo=False)
    answer = pages.render("signedout.html", {}, form_targets=(origin,))
    assert "form-action 'self'; frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_logos_come_from_https_or_in_the_demo_from_this_machine(identity: Identity) -> None:
    assert policy(await identity.browser().get("/id/signedout"))["img-src"] == ["'self'", "https:", "data:"]
    demo = Pages(identity.settings.issuer, TEMPLATES, demo=True).render("signedout.html", {})
    assert (
        "img-src 'self' https: data: http://127.0.0.1:* http://localhost:*" in demo.headers["content-security-policy"]
    )
