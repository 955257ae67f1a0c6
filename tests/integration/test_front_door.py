"""The front door: what it lets through to whom, and what it does not. Caddy is real, the services stand-ins."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from infra.local import caddy
from infra.local.home import Home
from infra.local.ports import LOOPBACK, Ports
from infra.local.process import until
from tests.support.ports import free_ports

UPSTREAM = ("registry", "identity", "token_issuer", "resource")


async def _echo(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with who was asked for what, and close."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", "0"))
        await reader.readexactly(length)
        body = json.dumps({"service": name, "target": request.split(" ")[1], "headers": headers, "length": length})
        writer.write(
            b"HTTP/1.1 200 OK\r\nServer: secret/1.0\r\nX-Of-Service: kept\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body.encode()
        )
        await writer.drain()
    writer.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("door"))
    home.take()
    return home


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ports(home: Home) -> AsyncIterator[Ports]:
    ports = free_ports()
    process = caddy.process(home, ports)
    await process.start()
    try:
        assert await until(lambda: _healthy(ports), 10), process.last_words()
        yield ports
    finally:
        await process.stop()


async def _healthy(ports: Ports) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(f"{ports.origin}/healthz")).status_code == 200
        except httpx.ConnectError:
            return False


@pytest.fixture
async def services(ports: Ports) -> AsyncIterator[None]:
    """Stand-ins for the services behind the door, and for the answer about readiness."""

    def answering(name: str) -> object:
        return lambda reader, writer: _echo(name, reader, writer)

    listening = {name: ports.http(name) for name in UPSTREAM}
    listening |= {"readiness": ports.readiness, "console": ports.console}
    servers = [
        await asyncio.start_server(answering(name), LOOPBACK, port)  # type: ignore[arg-type]
        for name, port in listening.items()
    ]
    yield
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def door(ports: Ports) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=ports.origin, trust_env=False) as client:
        yield client


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(
    ("target", "service"),
    [
        ("/id/connect/authorize?client_id=a", "identity"),
        ("/id/connect/endsession", "identity"),
        ("/id/connect/userinfo", "identity"),
        ("/id/signin", "identity"),
        ("/id/signin/password?x=y", "identity"),
        ("/id/consent", "identity"),
        ("/id/device?user_code=WDJB-MJHT", "identity"),
        ("/id/signedout", "identity"),
        ("/id/account", "identity"),
        ("/id/account/sessions", "identity"),
        ("/id/static/style.css", "identity"),
        ("/id/connect/register", "registry"),
        ("/id/connect/register/com.example/app", "registry"),
        ("/id/connect/registered", "token_issuer"),
        ("/id/connect/token", "token_issuer"),
        ("/id/connect/introspect", "token_issuer"),
        ("/id/connect/revocation", "token_issuer"),
        ("/id/.well-known/openid-configuration", "token_issuer"),
        ("/.well-known/oauth-authorization-server/id", "token_issuer"),
        ("/api/tours", "resource"),
        ("/api/merchandise/1", "resource"),
        ("/.well-known/oauth-protected-resource/api", "resource"),
        ("/console", "console"),
        ("/console/users/show?id=x", "console"),
        ("/readyz", "readiness"),
    ],
)
async def test_each_path_has_its_service_and_is_passed_on_unchanged(
    door: httpx.AsyncClient, target: str, service: str
) -> None:
    answer = await door.get(target)
    assert answer.status_code == 200
    assert (answer.json()["service"], answer.json()["target"]) == (service, target)
    assert answer.headers["x-of-service"] == "kept"


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/metrics",
        "/id",
        "/apis",
        "/consoles",
        "/id/../metrics",
        "/id/../readyz/x",
        "/api/%2e%2e/metrics",
        "/.well-known/oauth-protected-resource/apis",
        "/.well-known/openid-configuration",
        "/internal/forward-auth",
        "/id/../internal/forward-auth",
    ],
)
async def test_nothing_else_is_there(ports: Ports, target: str) -> None:
    status, body = await _plain(ports, target)
    assert status == 404
    assert json.loads(body) == {"error": "Not Found"}


async def _plain(ports: Ports, target: str) -> tuple[int, str]:
    """A request as it stands: clients tidy up the paths that are of interest here."""
    reader, writer = await asyncio.open_connection(LOOPBACK, ports.door)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {LOOPBACK}:{ports.door}\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split(" ")[1]), body


@pytest.mark.usefixtures("services")
async def test_who_is_calling_is_not_taken_from_the_caller(door: httpx.AsyncClient) -> None:
    claimed = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "elsewhere.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-User": "brian",
        "X-Forwarded-Client-Cert": "forged",
        "Forwarded": "for=203.0.113.9",
        "X-Real-Ip": "203.0.113.9",
        "X-Client-Cert": "forged",
        "X-SSL-Client-Verify": "SUCCESS",
        "X-Remote-User": "brian",
        "Remote-User": "brian",
        "X-Auth-Request-Email": "brian",
        "Stagedoor-Caller": "service/identity",
        "Authorization": "Bearer kept",
        "X-Api-Key": "kept",
    }
    headers = (await door.get("/api/tours", headers=claimed)).json()["headers"]
    assert headers["x-forwarded-for"] == LOOPBACK
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-host"] == headers["host"] == door.base_url.netloc.decode()
    assert headers["authorization"] == "Bearer kept"
    assert headers["x-api-key"] == "kept"
    assert not {"forged", "203.0.113.9", "brian", "for=203.0.113.9", "service/identity", "SUCCESS"} & set(
        headers.values()
    )


@pytest.mark.usefixtures("services")
async def test_another_host_name_is_another_origin(door: httpx.AsyncClient) -> None:
    assert (await door.get("/api/tours", headers={"Host": "elsewhere.example"})).status_code == 421


@pytest.mark.usefixtures("services")
async def test_bodies_and_headers_have_a_limit(door: httpx.AsyncClient) -> None:
    assert (await door.post("/id/connect/token", content=b"x" * 1_000_000)).json()["length"] == 1_000_000
    assert (await door.post("/id/connect/token", content=b"x" * 1_000_001)).status_code == 413
    # The door closes while the rest of the headers is still on its way, so its answer may not be read.
    with contextlib.suppress(httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
        assert (await door.get("/api/tours", headers={"Big": "x" * 100_000})).status_code == 431


async def test_a_service_that_is_gone_is_a_503_that_says_when_to_try_again(door: httpx.AsyncClient) -> None:
    answer = await door.get("/api/tours")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"] == "temporarily_unavailable"


@pytest.mark.usefixtures("services")
async def test_no_answer_names_the_software(door: httpx.AsyncClient) -> None:
    for target in ("/healthz", "/api/tours", "/nothing"):
        headers = (await door.get(target)).headers
        assert "server" not in headers
        assert "via" not in headers
