"""More at once than a service has room for: it says so, stays alive, and is as before a moment later."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urljoin, urlsplit

import asyncpg
import httpx
import pytest
import pytest_asyncio

from infra.local.demo_data import BACKSTAGEHUB
from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from tests.support.system import running_system

pytestmark = pytest.mark.timeout(180)
AT_ONCE = 16
"""Requests that each service takes side by side, here."""
WAVE = 200
GROWTH_KIB = 100 * 1024
FREDDIE = ("freddie", "a-kind-of-magic-1986")

Ask = Callable[[], Coroutine[Any, Any, httpx.Response]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small() -> AsyncIterator[System]:
    """A system with little room."""
    settings = {"STAGEDOOR_HTTP_LIMIT_CONCURRENCY": str(AT_ONCE), "STAGEDOOR_PASSWORD_QUEUE": "2"}
    async with running_system(settings=settings) as running:
        yield running


def _resident(system: System, service: str) -> int:
    """KiB of memory that a service holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{system.part(service).pid}/status").read_text())  # type: ignore[attr-defined]
    assert found is not None
    return int(found[1])


async def _pour(system: System, service: str, ask: Ask, good: int, more: int = 0) -> None:
    """Pour a wave over a service, and `more`: all get what they may get, somebody is turned away, and health is told.

    The first finds the log held until somebody is turned away: whether there is a crowd then does not depend on
    how fast the service is beside the test.
    """
    pouring = asyncio.Event()
    pouring.set()

    async def watch() -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as machinery:
            count = 0
            while pouring.is_set():
                answer = await machinery.get(f"http://127.0.0.1:{system.ports.http(service)}/healthz")
                assert answer.status_code == 200
                count += 1
                await asyncio.sleep(0.01)
            return count

    seen: Counter[int] = Counter()

    async def one() -> None:
        answer = await ask()
        seen[answer.status_code] += 1
        if answer.status_code == 503:
            shed.set()
        if answer.status_code != good:
            assert int(answer.headers["retry-after"]) >= 1, answer.text

    watching = asyncio.ensure_future(watch())
    shed = asyncio.Event()
    held = await asyncpg.connect(system.postgres.dsn(), password=system.postgres.password)
    try:
        await held.execute("BEGIN; LOCK TABLE log.gate IN EXCLUSIVE MODE")
        wave = asyncio.gather(*(one() for _ in range(WAVE)))
        try:
            async with asyncio.timeout(20):
                await shed.wait()
        finally:
            await held.execute("COMMIT")
            await wave
        for _ in range(more):
            await asyncio.gather(*(one() for _ in range(WAVE)))
    finally:
        pouring.clear()
        await held.close()
    assert await watching > 0
    assert set(seen) <= {good, 429, 503}, seen
    assert seen[good] > 0, seen


async def test_of_the_token_endpoint(small: System) -> None:
    (hub,) = [one for one in small.demo["applications"] if one["client_id"] == BACKSTAGEHUB]
    secret = httpx.BasicAuth(quote_plus(BACKSTAGEHUB), hub["client_secret"])
    limits = httpx.Limits(max_connections=WAVE)
    async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits, auth=secret) as client:

        async def ask() -> httpx.Response:
            return await client.post(
                f"{small.ports.issuer}/connect/token", data={"grant_type": "client_credentials", "scope": "read"}
            )

        assert (await ask()).status_code == 200
        before = _resident(small, "token_issuer")
        await _pour(small, "token_issuer", ask, 200, more=4)
        assert _resident(small, "token_issuer") - before < GROWTH_KIB
        again = [(await ask()).status_code for _ in range(5)]
        assert again == [200] * 5, "at once, and not by and by"


async def test_of_the_sign_in_page(small: System) -> None:
    (hub,) = [one for one in small.demo["applications"] if one["client_id"] == BACKSTAGEHUB]
    flow = CodeFlow(small.ports.issuer, BACKSTAGEHUB, hub["redirect_uris"][0], "openid read")
    async with Visitor(*FREDDIE) as flooding, Visitor(*FREDDIE) as freddie:
        flooding.browser = httpx.AsyncClient(
            trust_env=False, timeout=60, limits=httpx.Limits(max_connections=WAVE), cookies=flooding.browser.cookies
        )
        page = await flooding.browser.get(flow.address, follow_redirects=True)
        token = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
        action = re.search(r'<form[^>]*action="([^"]+)"', page.text)
        assert action is not None
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(str(page.url)))
        fields = {**token, "user_name": FREDDIE[0], "password": FREDDIE[1], "action": "sign_in"}

        async def ask() -> httpx.Response:
            return await flooding.browser.post(
                urljoin(str(page.url), action[1]), data=fields, headers={"Origin": origin}
            )

        before = _resident(small, "identity")
        await _pour(small, "identity", ask, 303)
        assert _resident(small, "identity") - before < GROWTH_KIB
        assert flow.code(await freddie.go(flow.address)), "the next one signs in as if nothing had been"
