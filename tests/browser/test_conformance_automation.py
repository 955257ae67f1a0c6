"""What the conformance suite's browser is told to do on our pages leads where it should, in a real browser.

The suite itself is not here; in its place is a page that has what its browser waits for.
"""

import asyncio
import json
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from fnmatch import fnmatch
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from infra.conformance.__main__ import ALIAS
from infra.local.services import python_environment
from infra.local.system import System
from tests.support.one_page import one_page
from tests.support.system import running_system

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def secure() -> AsyncIterator[System]:
    async with running_system(tls=True) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """As the suite's browser, it believes every certificate."""
    opened = await chromium.new_context(ignore_https_errors=True)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(loop_scope="session")
async def suite(secure: System) -> AsyncIterator[str]:
    """Where the suite would be."""
    async with one_page(secure.ports.setlist, "<div id=submission_complete>done</div>"):
        yield f"http://localhost:{secure.ports.setlist}"


async def written(system: System, *more: str) -> dict[str, Any]:
    """The configuration, as the command writes it."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.conformance", *more),
        env={**python_environment(), "STAGEDOOR_HOME": str(system.home.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    assert child.returncode == 0
    file = system.home.path / "conformance.json"
    assert out.decode().strip() == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found: dict[str, Any] = json.loads(file.read_text())
    return found


async def follow(page: Page, address: str, entries: list[dict[str, Any]]) -> list[str]:
    """Do at an address what the suite's browser would; answers the tasks that were done."""
    (entry,) = [one for one in entries if fnmatch(address, one["match"])]
    await page.goto(address)
    done = []
    for task in entry["tasks"]:
        if not fnmatch(page.url, task["match"]):
            assert task.get("optional"), f"{task['task']}: {page.url}"
            continue
        for command, *arguments in task.get("commands", ()):
            await _COMMANDS[command](page, *arguments)
        await page.wait_for_load_state()
        done.append(task["task"])
    return done


def _found(how: str, what: str) -> str:
    return f"#{what}" if how == "id" else what


async def _text(page: Page, how: str, what: str, typed: str) -> None:
    await page.locator(_found(how, what)).fill(typed)


async def _click(page: Page, how: str, what: str) -> None:
    # Each click sends a form; else the address could still be the one before.
    async with page.expect_navigation():
        await page.locator(_found(how, what)).click()


async def _wait(page: Page, how: str, what: str, seconds: int, text: str = "", _picture: str = "") -> None:
    await expect(page.locator(_found(how, what))).to_contain_text(text, timeout=seconds * 1000)


_COMMANDS: dict[str, Callable[..., Awaitable[None]]] = {"text": _text, "click": _click, "wait": _wait}


async def test_signing_in_refusals_and_signing_out(secure: System, context: BrowserContext, suite: str) -> None:
    configuration, here = await written(secure, "--suite", suite), f"{suite}/test/a/{ALIAS}"
    issuer = secure.ports.issuer
    assert configuration["server"]["discoveryUrl"] == f"{issuer}/.well-known/openid-configuration"
    client_id = configuration["client"]["client_id"]
    page = await context.new_page()

    def asked(**more: str) -> str:
        request = {"response_type": "code", "client_id": client_id, "scope": "openid email", "state": "s", "nonce": "n"}
        return f"{issuer}/connect/authorize?{urlencode({**request, 'redirect_uri': f'{here}/callback', **more})}"

    usual, override = configuration["browser"], configuration["override"]
    everything = ["Sign in", "Consent", "Back at the application"]
    assert await follow(page, asked(), usual) == everything
    assert "code=" in page.url
    assert await follow(page, asked(), usual) == everything[2:]
    again = override["oidcc-prompt-login"]["browser"]
    assert await follow(page, asked(prompt="login"), again) == [everything[0], everything[2]]

    refused = override["oidcc-ensure-registered-redirect-uri"]["browser"]
    assert await follow(page, asked(redirect_uri=f"{here}/elsewhere"), refused) == ["Refused here"]

    out = f"{issuer}/connect/endsession"
    bad = override["oidcc-rp-initiated-logout-bad-post-logout-redirect-uri"]["browser"]
    elsewhere = urlencode({"client_id": client_id, "post_logout_redirect_uri": f"{here}/elsewhere"})
    assert await follow(page, f"{out}?{elsewhere}", bad) == ["Refused here"]
    registered = urlencode({"client_id": client_id, "post_logout_redirect_uri": f"{here}/post_logout_redirect"})
    assert await follow(page, f"{out}?{registered}", usual) == ["Confirm", "Back at the application"]
    stays = override["oidcc-rp-initiated-logout-no-params"]["browser"]
    assert await follow(page, asked(), usual) == [everything[0], everything[2]]
    assert await follow(page, out, stays) == ["Confirm", "Signed out here"]


@pytest.mark.parametrize("method", ["client", "client_secret_post"])
async def test_the_secrets_are_those_of_the_last_run(secure: System, method: str) -> None:
    first, second = await written(secure, "--alias", "again"), await written(secure, "--alias", "again")
    assert first[method]["client_id"] == second[method]["client_id"]
    assert first[method]["client_secret"] != second[method]["client_secret"]
