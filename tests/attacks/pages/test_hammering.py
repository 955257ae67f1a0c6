"""Wearing the pages out with requests that lead nowhere."""

from typing import Any

import pytest

from tests.support.fake_issuer import CALLBACK, CLIENT
from tests.support.identity_service import Identity, authorization

FEW = {"client_failures": 5, "client_fade_seconds": 3600, "client_address_failures": 12}
SLOW = {"client_address_fade_seconds": 3600}
EVIL = "https://evil.example/"


@pytest.fixture
def settings() -> dict[str, Any]:
    return {**FEW, **SLOW}


async def test_requests_that_are_not_to_be_trusted(identity: Identity) -> None:
    stranger = identity.browser("198.51.100.66")
    evil = authorization(redirect_uri=EVIL)
    assert [(await stranger.get(evil)).status for _ in range(5)] == [400] * 5
    begun = len(identity.issuer.begun)
    for method, options in (("GET", {}), ("POST", {"data": {"client_id": CLIENT, "redirect_uri": CALLBACK}})):
        address = evil if method == "GET" else "/id/connect/authorize"
        page = await stranger.send(method, address, **options)
        assert page.status == 429
        assert 3000 < int(page.headers["retry-after"]) <= 3600
        assert page.headers["content-type"].startswith("text/html")
        assert "too many attempts" in page.text
        assert "location" not in page.headers
    assert len(identity.issuer.begun) == begun
    # Nobody else is in the way of this application, nor is the stranger in the way of others.
    assert (await identity.browser("192.0.2.7").get(authorization())).path == "/id/signin"
    assert (await stranger.get(authorization(client_id="com.unknown/app"))).status == 400


async def test_many_names_of_applications(identity: Identity) -> None:
    stranger = identity.browser("198.51.100.67")
    statuses = [(await stranger.get(authorization(client_id=f"com.guess/{n}"))).status for n in range(13)]
    assert statuses == [400] * 12 + [429]
    assert (await stranger.get("/id/connect/endsession")).status == 429
    assert (await stranger.get("/id/signin")).status == 200
    assert (await identity.browser("192.0.2.7").get(authorization())).path == "/id/signin"


async def test_sign_outs_that_lead_elsewhere(identity: Identity) -> None:
    stranger = identity.browser("198.51.100.68")
    address = f"/id/connect/endsession?post_logout_redirect_uri={EVIL}"
    statuses = [(await stranger.send("GET", address)).status for _ in range(13)]
    assert statuses == [400] * 12 + [429]


async def test_requests_in_order_are_not_counted(identity: Identity) -> None:
    browser = identity.browser()
    for _ in range(30):
        assert (await browser.get(authorization())).path == "/id/signin"
        assert (await browser.send("GET", authorization(response_type="token"))).status == 303
