"""What `docs/app-developers.md` shows works as it stands there, from the registration to the first call."""

import asyncio
import re
import shlex
from urllib.parse import quote_plus

import httpx
import jwt
import pytest

from infra.local.demo_data import BACKSTAGEHUB
from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from tests.support.command import CommandRefused, stagedoor
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


async def test_a_device_without_a_browser(
    system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await register(system, "com.example/device")
    loop = asyncio.get_running_loop()
    waits: list[float] = []

    async def let_in(said: str) -> None:
        found = re.search(r"Go to (\S+) and type (\S+)", said)
        assert found, said
        async with Visitor(*FREDDIE) as freddie:
            await freddie.let_in(f"{found[1]}?user_code={found[2]}")

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            asyncio.run_coroutine_threadsafe(let_in(capsys.readouterr().out), loop).result(30)

    example = run(block("python", "com.example/device"))
    monkeypatch.setattr(example["time"], "sleep", sleep)
    assert isinstance(await asyncio.to_thread(example["main"]), list)
    assert waits == [5, 5]


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


async def test_an_api_that_calls_another(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", await register(system, "com.example/reports"))
    example = run(block("python", "com.example/reports"))
    front, callback = "com.example/front", "http://localhost:8000/front"
    scopes = ("--scope", "read", "--scope", "report")
    grants = ("--grant", "authorization_code")
    asked = ("apps", "register", front, "--name", "Front", "--redirect-uri", callback, *scopes, *grants)
    (made,) = await stagedoor(system, *asked)
    flow = CodeFlow(system.ports.issuer, front, callback, "openid read report")
    async with Visitor(*FREDDIE) as freddie:
        shown = (await flow.redeem(flow.code(await freddie.go(flow.address)), client_secret=made["client_secret"]))[
            "access_token"
        ]
    assert re.fullmatch(r"[0-9]+ tours", await asyncio.to_thread(example["report"], str(shown)))
    given = jwt.decode(await asyncio.to_thread(example["exchanged"], str(shown)), options={"verify_signature": False})
    assert (given["scope"], given["aud"]) == ("read", [f"{system.ports.origin}/api"])
    assert (given["act"]["client_id"], given["act"]["act"]["client_id"]) == ("com.example/reports", front)
    # What the page says of who cannot.
    hub = next(one for one in system.demo["applications"] if one["client_id"] == BACKSTAGEHUB)
    assert "urn:ietf:params:oauth:grant-type:token-exchange" in hub["grants"]
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": str(shown),
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }
    proof = httpx.BasicAuth(quote_plus(BACKSTAGEHUB), hub["client_secret"])
    async with httpx.AsyncClient(auth=proof) as client:
        refused = await client.post(f"{system.ports.issuer}/connect/token", data=form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


async def test_a_token_that_is_bound_to_a_key(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", await register(system, "com.example/bound"))
    example = run(block("python", "com.example/bound"))
    assert isinstance(await asyncio.to_thread(example["main"]), list)
    holder, thief = example["Holder"](), example["Holder"]()
    token = await asyncio.to_thread(example["access_token"], holder)
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        await asyncio.to_thread(example["tours"], thief, token)
    bearer = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{system.ports.origin}/api/tours", headers=bearer)).status_code == 401


async def test_the_fapi_2_security_profile(system: System) -> None:
    assert not await register(system, "com.example/held"), "it has no secret"
    (shown,) = await stagedoor(system, "apps", "show", "com.example/held")
    assert (shown["auth_method"], shown["security_profile"]) == ("private_key_jwt", "fapi2")
    assert shown["require_pushed_authorization_requests"]
    assert shown["dpop_bound_access_tokens"]
    assert shown["id_token_signed_response_alg"] == "ES256"
    # What the page says of later changes.
    with pytest.raises(CommandRefused, match=r"FAPI 2\.0 .* has to push") as refused:
        await stagedoor(system, "apps", "change", "com.example/held", "--no-require-pushed-authorization-requests")
    assert refused.value.status == 1


def test_every_example_is_run() -> None:
    assert len(blocks("python")) == 8
    assert len(blocks("html")) == 1
    assert len(blocks("sh")) == 10
    assert PAGE.read_text().count("```") == 2 * 20


def test_nothing_that_is_named_is_missing() -> None:
    root = PAGE.parent.parent
    named = re.findall(r"`((?:docs|sdk|tests)/[^`]+)`", PAGE.read_text())
    assert named
    assert not [path for path in named if not (root / path).exists()]
