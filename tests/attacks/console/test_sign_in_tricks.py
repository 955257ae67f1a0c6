"""Signing in at the console: into somebody else's session, with a planted one, and to somewhere else."""

import re
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from infra.local.system import System
from tests.support.browsing import Page
from tests.support.console import AUDITOR, BRIAN, desk
from tests.support.work import eventually


def _cookies(page: Page) -> dict[str, SimpleCookie]:
    return {
        name: jar for header in page.headers.get_list("set-cookie") for jar in [SimpleCookie(header)] for name in jar
    }


async def test_somebody_elses_answer_signs_nobody_in(console: str) -> None:
    """Login CSRF and mixed-up states: a code of the attacker's, in the browser of the victim (RFC 9700 section 4.7)."""
    async with desk(console, AUDITOR) as attacker, desk(console, BRIAN) as victim:
        answer = await attacker.visitor.go(console, until=f"{console}/callback")
        page = await victim.once("GET", answer)
        assert page.status == 403
        assert "stagedoor_console" not in _cookies(page)
        # Nor with a sign-in of the victim's own under way.
        await victim.once("GET", "")
        assert (await victim.once("GET", answer)).status == 403
        # Nor does it disturb one that is done.
        await victim.sign_in()
        before = victim.cookies["stagedoor_console"]
        assert (await victim.once("GET", answer)).location == f"{console}/"
        assert victim.cookies["stagedoor_console"] == before


async def test_an_answer_is_good_once(console: str) -> None:
    async with desk(console, BRIAN) as brian:
        back = await brian.visitor.go(console, until=f"{console}/callback")
        kept = dict(brian.cookies)
        assert (await brian.once("GET", back)).status == 303
    async with httpx.AsyncClient(trust_env=False, cookies=kept) as again:
        answer = Page(await again.get(back))
        assert answer.status == 403
        assert "stagedoor_console" not in _cookies(answer)


@pytest.mark.parametrize("changed", ["state", "iss", "code"])
async def test_an_answer_that_was_changed_is_not_taken(console: str, changed: str) -> None:
    async with desk(console, BRIAN) as brian:
        back = await brian.visitor.go(console, until=f"{console}/callback")
        value = parse_qs(urlsplit(back).query)[changed][0]
        page = await brian.once("GET", back.replace(quote(value, safe=""), "x" * 43))
        assert page.status == 403
        assert (await brian.once("GET", "/users")).status == 303


async def test_a_planted_session_is_never_taken_over(console: str) -> None:
    """Session fixation."""
    host = urlsplit(console).hostname or ""
    async with desk(console, BRIAN) as brian:
        brian.browser.cookies.set("stagedoor_console", "planted-by-somebody", host, "/console")
        page = await brian.sign_in()
        assert page.status == 200
        assert brian.cookies["stagedoor_console"] != "planted-by-somebody"
    async with desk(console, BRIAN) as thief:
        thief.browser.cookies.set("stagedoor_console", "planted-by-somebody", host, "/console")
        assert (await thief.once("GET", "/users")).status == 303


async def test_two_cookies_of_one_name_are_told_and_lead_into_no_circle(console: str) -> None:
    async with desk(console, BRIAN) as brian:
        await brian.sign_in()
        brian.browser.cookies.set("stagedoor_console", "planted-by-somebody", path="/console")
        page = await brian.once("GET", "/users")
        assert (page.status, "several_cookies" in page.text) == (400, True)


async def test_each_sign_in_has_a_secret_of_its_own_that_no_script_reads(console: str) -> None:
    async with desk(console, BRIAN) as brian:
        begun = await brian.once("GET", "")
        back = await brian.visitor.go(console, until=f"{console}/callback")
        done = await brian.once("GET", back)
        for page, name in ((begun, "stagedoor_console_begun"), (done, "stagedoor_console")):
            cookie = _cookies(page)[name][name]
            assert (cookie["httponly"], cookie["samesite"].lower(), cookie["path"]) == (True, "lax", "/console")
        first = brian.cookies["stagedoor_console"]
        assert len(first) == 43
    async with desk(console, BRIAN) as again:
        await again.sign_in()
        assert again.cookies["stagedoor_console"] != first


async def test_signing_in_leads_nowhere_else(console: str) -> None:
    """Open redirect: the page that was asked for is one of the console's own."""
    async with desk(console, BRIAN) as brian:
        for path in ("//evil.example/", "/%2F%2Fevil.example/", "/users/https://evil.example/", "/users//evil.example"):
            assert (await brian.once("GET", path)).status == 404, path
        back = await brian.visitor.go(f"{console}/users?to=https://evil.example/", until=f"{console}/callback")
        answer = await brian.once("GET", back)
        assert answer.location == f"{console}/users?to=https://evil.example/"


async def test_no_token_is_in_any_page_address_or_log_line(system: System, console: str) -> None:
    async with desk(console, BRIAN) as brian:
        await brian.sign_in()
        for path in ("", "/applications", "/users", "/tokens", "/keys", "/log", "/log/live"):
            page = await brian.get(path)
            assert not re.search(r"eyJ[A-Za-z0-9_-]{10,}\.", page.response.text), path
            assert brian.cookies["stagedoor_console"] not in page.response.text
        secret = brian.cookies["stagedoor_console"]
        said = system.home.logs.joinpath("console.log").read_text()
        assert secret not in said
        assert not re.search(r"eyJ[A-Za-z0-9_-]{10,}\.", said)


async def test_a_stolen_cookie_is_worth_nothing_after_signing_out(console: str) -> None:
    async with desk(console, BRIAN) as brian:
        await brian.sign_in()
        stolen = brian.cookies["stagedoor_console"]
        await brian.press(await brian.get("/"), "/sign-out")
    async with desk(console, BRIAN) as thief:
        thief.browser.cookies.set("stagedoor_console", stolen, path="/console")
        assert (await thief.get("/users")).path == "/id/signin"


async def test_signing_out_elsewhere_is_out_here_at_once(system: System, console: str) -> None:
    """No message has to arrive for it: every page is a call with the person's token, and that is denied."""
    async with desk(console, BRIAN) as brian:
        await brian.sign_in()
        page = await brian.once("GET", f"{system.ports.issuer}/connect/endsession")
        form = page.forms[-1]
        origin = {"Origin": system.ports.origin}
        out = await brian.once("POST", f"{system.ports.origin}{form.action}", data=form.fields, headers=origin)
        assert out.status == 303

        async def out_here() -> bool:
            return (await brian.get("/users")).path == "/id/signin"

        await eventually(out_here)


async def test_invented_answers_keep_nobody_else_out(system: System, console: str) -> None:
    """Each would be counted against the console at the issuer, so that one stranger could keep everybody out."""
    address = f"http://127.0.0.1:{system.ports.console}/console"
    async with httpx.AsyncClient(trust_env=False, headers={"X-Forwarded-For": "203.0.113.7"}) as stranger:
        begun = await stranger.get(address)
        state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
        answer = {"state": state, "iss": system.ports.issuer, "code": "invented"}
        said: list[int] = []
        while len(said) < 200 and said[-1:] != [429]:
            said.append((await stranger.get(f"{address}/callback", params=answer)).status_code)
    assert set(said[:20]) == {403}
    assert said[-1] == 429
    async with desk(console, BRIAN) as brian:
        assert (await brian.sign_in()).status == 200
