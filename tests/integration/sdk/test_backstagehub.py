"""BackstageHub against the running system: what Freddie sees, and what an attacker does not get."""

import asyncio
import json
import re
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

from backstagehub import sign_in
from backstagehub.app import application
from backstagehub.settings import Settings
from infra.local.demo import backstagehub_secret
from infra.local.sign_in import Visitor
from infra.local.system import System
from tests.support.browsing import Page
from tests.support.command import stagedoor

CLIENT_ID = "com.backstagehub/app"


def settings_of(system: System) -> Settings:
    origin = f"http://localhost:{system.ports.backstagehub}"
    return Settings(
        issuer=system.ports.issuer,
        api=f"{system.ports.origin}/api",
        client_id=CLIENT_ID,
        client_secret=backstagehub_secret(system.home).read_text().strip(),
        bind="127.0.0.1:0",
        origin=origin,
    )


class Browser:
    """Freddie's browser at BackstageHub."""

    def __init__(self, hub: httpx.AsyncClient) -> None:
        self.hub = hub

    async def sign_in(self, *, allow: bool = True) -> httpx.Response:
        """All the way, and back on the first page."""
        back = await self.hub.get(await self.way_back(allow=allow))
        return await self.hub.get("/") if back.status_code == 303 else back

    async def way_back(self, *, allow: bool = True) -> str:
        """To Stagedoor, and what it sends the browser back to."""
        leaving = await self.hub.get("/login")
        assert leaving.status_code == 302
        async with Visitor("freddie", "a-kind-of-magic-1986") as freddie:
            return await freddie.go(leaving.headers["location"], allow=allow)

    async def send(self, path: str, **typed: str) -> httpx.Response:
        """Send a form of the first page, and go where that leads if it is a page of BackstageHub's."""
        sent = await self.hub.post(path, data={"csrf_token": csrf_token((await self.hub.get("/")).text), **typed})
        return await self.hub.get("/") if sent.headers.get("location") == "/" else sent


def csrf_token(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


@asynccontextmanager
async def browser_at(settings: Settings) -> AsyncIterator[Browser]:
    """A browser at a BackstageHub in this process."""
    transport = httpx.ASGITransport(application(settings))
    async with httpx.AsyncClient(transport=transport, base_url=settings.origin) as hub:
        yield Browser(hub)


@pytest.fixture
async def browser(system: System) -> AsyncIterator[Browser]:
    async with browser_at(settings_of(system)) as made:
        yield made


async def test_freddie_signs_in_syncs_and_leaves(system: System) -> None:
    """With the BackstageHub that the system runs."""
    hub = f"http://localhost:{system.ports.backstagehub}"
    async with httpx.AsyncClient(base_url=hub, trust_env=False, timeout=30) as client:
        browser = Browser(client)
        assert "Sign in with Stagedoor" in (await client.get("/")).text
        assert "Freddie" in (await browser.sign_in()).text
        assert "Wembley Stadium" in (await browser.send("/sync")).text
        assert "Already in sync" in (await browser.send("/sync")).text
        added = await browser.send("/tours", title="Magic Tour", venue="Casino", city="Montreux", date="1986-05-11")
        assert "Montreux is on the bill" in added.text

        leaving = await browser.send("/logout")
        assert leaving.status_code == 303
        parts = urlsplit(leaving.headers["location"])
        asked = parse_qs(parts.query)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{system.ports.issuer}/connect/endsession"
        assert asked["post_logout_redirect_uri"] == [f"{hub}/signed-out"]
        assert asked["id_token_hint"][0].count(".") == 2
        assert "Sign in with Stagedoor" in (await client.get("/")).text


async def test_signing_out_elsewhere_ends_the_session_here(system: System) -> None:
    """At Stagedoor itself; BackstageHub, the one that the system runs, is told (back-channel logout)."""
    hub = f"http://localhost:{system.ports.backstagehub}"
    async with (
        httpx.AsyncClient(base_url=hub, trust_env=False, timeout=30) as client,
        httpx.AsyncClient(base_url=hub, trust_env=False, timeout=30) as elsewhere,
        Visitor("freddie", "a-kind-of-magic-1986") as freddie,
    ):
        await Browser(elsewhere).sign_in()
        await client.get(await freddie.go((await client.get("/login")).headers["location"]))
        assert "Freddie" in (await client.get("/")).text
        page = Page(await freddie.browser.get(f"{system.ports.issuer}/connect/endsession"))
        gone = await freddie.browser.post(
            urljoin(page.url, page.form.action),
            data={**page.form.fields, "action": "sign_out"},
            headers={"Origin": system.ports.origin},
        )
        assert gone.status_code == 303
        deadline = asyncio.get_running_loop().time() + 30
        while "Sign in with Stagedoor" not in (await client.get("/")).text:
            assert asyncio.get_running_loop().time() < deadline, "it was not told"
        assert "Freddie" in (await elsewhere.get("/")).text, "another session"


async def test_the_request_has_all_that_protects_it(browser: Browser, system: System) -> None:
    asked = parse_qs(urlsplit((await browser.hub.get("/login")).headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [settings_of(system).redirect_uri]
    assert asked["scope"] == ["openid profile offline_access read update"]
    assert all(len(asked[name][0]) >= 20 for name in ("state", "nonce", "code_challenge"))


async def test_the_cookie_has_no_token(browser: Browser) -> None:
    callback = await browser.hub.get(await browser.way_back())
    (cookie,) = callback.headers.get_list("set-cookie")
    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()
    content = json.loads(b64decode(cookie.partition("=")[2].partition(".")[0] + "=="))
    assert set(content) == {"id"}
    assert len(content["id"]) == 43


async def test_a_new_session_begins_with_each_sign_in(browser: Browser) -> None:
    await browser.sign_in()
    before = dict(browser.hub.cookies)
    await browser.sign_in()
    after = dict(browser.hub.cookies)
    assert before != after
    browser.hub.cookies.clear()
    browser.hub.cookies.update(before)
    assert "Sign in with Stagedoor" in (await browser.hub.get("/")).text


async def test_a_form_of_another_site_is_refused(browser: Browser) -> None:
    await browser.sign_in()
    for path in ("/sync", "/tours", "/logout"):
        for typed in ({}, {"csrf_token": ""}, {"csrf_token": "A" * 43}, {"csrf_token": "é"}):
            assert (await browser.hub.post(path, data=typed)).status_code == 403
    assert "Freddie" in (await browser.hub.get("/")).text


async def test_somebody_elses_answer_signs_nobody_in(browser: Browser, system: System) -> None:
    """Login CSRF: an attacker's own code in Freddie's browser (RFC 6749 section 10.12)."""
    way_back = await browser.way_back()
    async with browser_at(settings_of(system)) as other:
        refused = await other.hub.get(way_back)
        assert refused.status_code == 403
        assert "Sign in with Stagedoor" in (await other.hub.get("/")).text
        assert "unknown_sign_in" in refused.text
    # In the browser that began, it is good for once: after that whoever is signed in stays so, and nobody is any more.
    assert (await browser.hub.get(way_back)).status_code == 303
    signed_in = dict(browser.hub.cookies)
    again = await browser.hub.get(way_back)
    assert (again.status_code, again.headers["location"]) == (303, "/")
    assert dict(browser.hub.cookies) == signed_in
    browser.hub.cookies.clear()
    assert (await browser.hub.get(way_back)).status_code == 403


@pytest.mark.parametrize("changed", ["&iss=http%3A%2F%2Fevil.example", ""])
async def test_an_answer_of_another_issuer_is_refused(browser: Browser, changed: str) -> None:
    """Mix-up (RFC 9207 section 2.4)."""
    way_back = re.sub(r"&iss=[^&]*", changed, (await browser.way_back()).replace("?iss=", "?x=y&iss="))
    refused = await browser.hub.get(way_back)
    assert refused.status_code == 403
    assert "wrong_issuer" in refused.text


async def test_freddie_may_say_no(browser: Browser, system: System) -> None:
    error = f"error=access_denied&error_description=no&iss={system.ports.issuer}"
    said_no = await browser.hub.get(f"/callback?{error}&state=x")
    assert said_no.status_code == 403
    assert "BackstageHub was not let in" in said_no.text
    assert "access_denied" in said_no.text


async def test_a_disabled_application_is_told_why(browser: Browser, system: System) -> None:
    await browser.sign_in()
    await stagedoor(system, "apps", "disable", CLIENT_ID, "--reason", "a test")
    try:
        deadline = asyncio.get_running_loop().time() + 30
        while (answer := await browser.hub.get("/")).status_code == 200:
            assert asyncio.get_running_loop().time() < deadline, "it was still let in"
        assert answer.status_code == 403
        assert "<code>invalid_token</code>" in answer.text
        assert "disabled" in answer.text
    finally:
        await stagedoor(system, "apps", "enable", CLIENT_ID)
    deadline = asyncio.get_running_loop().time() + 30
    while (await browser.hub.get("/")).status_code != 200:
        assert asyncio.get_running_loop().time() < deadline, "it was not let in again"


async def test_tokens_are_refreshed_one_at_a_time(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    await browser.sign_in()
    monkeypatch.setattr(sign_in, "_REFRESH_EARLY", 10**9)  # every request finds its token too old
    answers = await asyncio.gather(*(browser.hub.get("/") for _ in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6


async def test_what_cannot_be_a_tour_is_said(browser: Browser) -> None:
    await browser.sign_in()
    wrong = await browser.send("/tours", title="Tour", venue="<b>Venue</b>", city="", date="1986-05-11")
    assert wrong.status_code == 400
    assert 'role="alert" id="problem">city has to have' in wrong.text
    assert "&lt;b&gt;Venue&lt;/b&gt;" in wrong.text


async def test_when_the_api_does_not_answer(system: System) -> None:
    settings = replace(settings_of(system), api="http://127.0.0.1:9/api")
    async with browser_at(settings) as browser:
        answer = await browser.sign_in()
        assert answer.status_code == 503
        assert "Not at the moment" in answer.text


async def test_when_stagedoor_does_not_answer(system: System) -> None:
    async with browser_at(replace(settings_of(system), issuer="http://127.0.0.1:9/id")) as browser:
        assert (await browser.hub.get("/login")).status_code == 503


async def test_its_pages_are_careful(browser: Browser) -> None:
    for path in ("/", "/signed-out", "/nowhere", "/callback"):
        answer = await browser.hub.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
    elsewhere = await browser.hub.get("/", headers={"Host": "evil.example"})
    assert elsewhere.status_code == 400
