"""Forged requests: forms of other sites, of other people's sessions, and of no session at all."""

from collections.abc import AsyncIterator
from urllib.parse import urljoin
from uuid import uuid4

import pytest

from infra.local.system import System
from tests.support.console import BRIAN, Desk, desk, form_to


@pytest.fixture
async def brian(console: str) -> AsyncIterator[Desk]:
    async with desk(console, BRIAN) as one:
        await one.sign_in()
        yield one


HUB = "/applications/show?id=com.backstagehub/app"
DISABLE = "/applications/disable"


async def _enabled(brian: Desk) -> bool:
    return any(form.action.endswith(DISABLE) for form in (await brian.get(HUB)).forms)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost:8480"},
    ],
)
async def test_a_form_of_another_site_does_nothing(brian: Desk, headers: dict[str, str]) -> None:
    form = form_to(await brian.get(HUB), DISABLE)
    answer = await brian.once("POST", DISABLE, data=form.fields, headers=headers)
    assert answer.status == 403
    assert await _enabled(brian)


async def test_a_form_without_its_token_or_with_anothers_does_nothing(console: str, brian: Desk) -> None:
    form = form_to(page := await brian.get(HUB), DISABLE)
    async with desk(console, BRIAN) as other:
        await other.sign_in()
        elsewhere = form_to(await other.get(HUB), DISABLE).fields["form"]
    for_another_action = form_to(page, "/applications/add-secret").fields["form"]
    for token in ("", "1.x", elsewhere, for_another_action, f"9{form.fields['form']}"):
        answer = await brian.once("POST", DISABLE, data={**form.fields, "form": token})
        assert answer.status == 403, token
    assert await _enabled(brian)


async def test_nothing_is_done_by_an_address(brian: Desk) -> None:
    form = form_to(await brian.get(HUB), DISABLE)
    answer = await brian.once("GET", DISABLE, params=form.fields)
    assert answer.status == 405
    assert (await brian.once("GET", "/sign-out")).status == 405
    assert await _enabled(brian)


async def test_a_form_after_signing_out_does_nothing(console: str, brian: Desk) -> None:
    page = await brian.get(HUB)
    stolen = brian.cookies
    await brian.press(page, "/sign-out")
    async with desk(console, BRIAN) as thief:
        thief.browser.cookies.update(stolen)
        answer = await thief.once("POST", DISABLE, data=form_to(page, DISABLE).fields)
        assert answer.status == 403
        assert (await thief.get("/users")).path == "/id/signin"
    await brian.sign_in()
    assert await _enabled(brian)


async def test_a_page_cannot_be_framed_and_runs_nothing_of_its_own(brian: Desk, system: System) -> None:
    for path in ("", "/applications", HUB, "/users", "/tokens", "/keys", "/log", "/log/explain", "/nowhere"):
        page = await brian.get(path)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self';" in policy
        assert "script-src" not in policy
        assert "<script" not in page.response.text
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "same-origin"
    live = await brian.get("/log/live")
    policy = live.headers["content-security-policy"]
    assert f"script-src {system.ports.origin}/console/static/live.js;" in policy
    assert "unsafe" not in policy
    scripts = [given for tag, given in live.tags if tag == "script"]
    assert [urljoin(live.url, given["src"]).startswith(f"{system.ports.origin}/console/static/") for given in scripts]
    assert not [given for _, given in live.tags if any(name.startswith("on") for name in given)]


async def test_the_log_is_not_followed_from_elsewhere(console: str, brian: Desk) -> None:
    """Whoever has no session gets no event, and no cookie is sent along from another site (SameSite)."""
    async with desk(console, BRIAN) as nobody:
        assert (await nobody.once("GET", "/log/events")).status == 303
    begun = await brian.once("GET", f"/users/show?id={uuid4().hex}")
    assert begun.status in (400, 404)
