"""What `docs/app-developers.md` shows works as it stands there, from the registration to the first call."""

import asyncio
import re
import shlex

import httpx
import pytest

from infra.local.sign_in import Visitor
from infra.local.system import System
from tests.support.command import stagedoor
from tests.support.documented import PAGE, block, blocks, register, run

FREDDIE = ("freddie", "a-kind-of-magic-1986")


@pytest.fixture(autouse=True)
def _surroundings(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISSUER", system.ports.issuer)
    monkeypatch.setenv("API", f"{system.ports.origin}/api")


async def test_a_web_application_with_a_server(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", await register(system, "com.example/web"))
    app = run(block("python", "com.example/web"))["app"]
    browser = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000")
    async with browser, Visitor(*FREDDIE) as freddie:
        assert (await browser.get("/")).headers["location"] == "/login"
        leaving = await browser.get("/login")
        back = await freddie.go(leaving.headers["location"])
        foreign = await browser.get(re.sub(r"([?&]iss=)[^&]*", r"\1https%3A%2F%2Fevil.example", back))
        assert foreign.status_code == 403
        answer = (await browser.get(back)).json()
    freddies = {user["name"]: user["sub"] for user in system.demo["users"]}["freddie"]
    assert answer["you"] == freddies
    assert isinstance(answer["tours"], list)


async def test_a_program_on_somebodys_own_machine(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    await register(system, "com.example/native")
    loop = asyncio.get_running_loop()
    visits: list[asyncio.Future[None]] = []

    async def visit(address: str) -> None:
        async with Visitor(*FREDDIE) as freddie:
            assert (await freddie.browser.get(await freddie.go(address))).text == "You can close this window."

    def opened(address: str) -> bool:
        visits.append(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(visit(address), loop), loop=loop))
        return True

    monkeypatch.setattr("webbrowser.open", opened)
    main = run(block("python", "com.example/native"))["main"]
    assert isinstance(await asyncio.to_thread(main), list)
    await asyncio.gather(*visits)


async def test_an_application_that_registers_itself(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    _, *issue = shlex.split(block("sh", "initial-access"))
    (issued,) = await stagedoor(system, *issue)
    monkeypatch.setenv("INITIAL_ACCESS_TOKEN", issued["initial_access_token"])
    example = run(block("python", "registration_endpoint"))
    application = await asyncio.to_thread(example["registered"])
    assert application["client_id"].startswith("com.example/")
    (shown,) = await stagedoor(system, "apps", "show", application["client_id"])
    assert (shown["display_name"], shown["scopes"]) == ("Preview 7", ["read"])
    await asyncio.to_thread(example["uninstall"], application)
    with pytest.raises(httpx.HTTPStatusError):
        await asyncio.to_thread(example["uninstall"], application)


async def test_a_background_service(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", await register(system, "com.example/service"))
    example = run(block("python", "com.example/service"))
    with example["client"] as client:
        assert isinstance(await asyncio.to_thread(example["tours"]), list)
        kept = client.auth._token
        await asyncio.to_thread(example["tours"])
        assert client.auth._token == kept
        # One that is refused is replaced, once.
        client.auth._token = "ended-meanwhile"
        assert isinstance(await asyncio.to_thread(example["tours"]), list)
        assert client.auth._token not in {kept, "ended-meanwhile"}


def test_every_example_is_run() -> None:
    assert len(blocks("python")) == 4
    assert len(blocks("html")) == 1
    assert len(blocks("sh")) == 5
    assert PAGE.read_text().count("```") == 2 * 10


def test_nothing_that_is_named_is_missing() -> None:
    root = PAGE.parent.parent
    named = re.findall(r"`((?:docs|sdk|tests)/[^`]+)`", PAGE.read_text())
    assert named
    assert not [path for path in named if not (root / path).exists()]
