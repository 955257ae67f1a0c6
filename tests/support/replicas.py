"""Two replicas of every service, and a front door that a test opens to the one or to the other."""

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote_plus

import grpc
import httpx

from infra.local.ports import LOOPBACK, SERVICES, Ports
from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from protos.stagedoor.registry.v1.registry_pb2_grpc import RegistryStub
from services.cli import profile
from shared.rpc.client import channel
from stagedoor.validation.v1 import validation_pb2
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub
from tests.support.ports import free_ports

# As infra/caddy/Caddyfile has it.
_IDENTITY = (
    *("/id/connect/authorize", "/id/connect/endsession", "/id/connect/userinfo"),
    *("/id/signin", "/id/consent", "/id/device", "/id/signedout", "/id/account", "/id/install", "/id/uninstall"),
)


def service_of(path: str) -> str:
    """Which service answers at this path of the origin."""
    if path.startswith(_IDENTITY):
        return "identity"
    if path.startswith("/id/connect/register"):
        return "registry"
    return "token_issuer" if path.startswith("/id/") else "resource"


class Door(httpx.AsyncBaseTransport):
    """Sends each request on to a replica of its service: to the next one in turn, or where `at` says."""

    def __init__(self, replicas: Sequence[Ports]) -> None:
        self._replicas = replicas
        self._turn = 0
        self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=100))
        self.at: dict[str, int] = {}
        """Services that are asked at one replica alone."""
        self.asked: list[tuple[str, str, int]] = []
        """Method, path and replica of every request so far."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Like the front door, but that it has a choice."""
        path = request.url.path
        service = service_of(path)
        self._turn += 1
        chosen = self.at.get(service, self._turn % len(self._replicas))
        self.asked.append((request.method, path, chosen))
        headers = [*request.headers.raw, (b"x-forwarded-for", LOOPBACK.encode()), (b"x-forwarded-proto", b"http")]
        url = request.url.copy_with(port=self._replicas[chosen].http(service))
        return await self._inner.handle_async_request(
            httpx.Request(request.method, url, headers=headers, stream=request.stream, extensions=request.extensions)
        )

    async def aclose(self) -> None:
        """Hang up."""
        await self._inner.aclose()


def claims(token: str) -> dict[str, Any]:
    """What a JWT says, unverified."""
    body = token.split(".")[1]
    return dict(json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4))))


class Replicas:
    """A system with a second replica of its services, or of some."""

    def __init__(self, system: System, replicas: Sequence[Ports]) -> None:
        self.system = system
        self.ports = replicas
        self.door = Door(replicas)
        self.http = httpx.AsyncClient(transport=self.door, trust_env=False, timeout=30)
        self.issuer = system.ports.issuer
        self._operator = profile.read(system.home.path / "profile.toml")
        self.metadata = (("authorization", f"Bearer {self._operator.access_token}"),)

    def application(self, client_id: str) -> dict[str, Any]:
        """What the demo says of it."""
        (found,) = [one for one in self.system.demo["applications"] if one["client_id"] == client_id]
        return dict(found)

    def visitor(self, user_name: str, password: str) -> Visitor:
        """A person who comes through this door."""
        visitor = Visitor(user_name, password)
        visitor.browser = httpx.AsyncClient(transport=Door(self.ports), trust_env=False, timeout=30)
        return visitor

    def flow(self, client_id: str, scope: str, **more: str) -> CodeFlow:
        """An authorization request of a demo application."""
        return CodeFlow(self.issuer, client_id, self.application(client_id)["redirect_uris"][0], scope, more)

    async def token(self, client_id: str, replica: int, **form: str) -> httpx.Response:
        """A request to the token endpoint of one issuer."""
        return await self._post(client_id, "token", replica, form)

    async def introspect(self, client_id: str, replica: int, token: str) -> httpx.Response:
        """A request to the introspection endpoint of one issuer."""
        return await self._post(client_id, "introspect", replica, {"token": token})

    async def revoke(self, client_id: str, replica: int, token: str) -> httpx.Response:
        """A request to the revocation endpoint of one issuer."""
        return await self._post(client_id, "revocation", replica, {"token": token})

    async def _post(self, client_id: str, endpoint: str, replica: int, form: dict[str, str]) -> httpx.Response:
        secret = httpx.BasicAuth(quote_plus(client_id), self.application(client_id)["client_secret"])
        self.door.at["token_issuer"] = replica
        return await self.http.post(f"{self.issuer}/connect/{endpoint}", data=form, auth=secret)

    async def redeem(self, flow: CodeFlow, code: str, replica: int) -> httpx.Response:
        """Exchange a code at one issuer."""
        return await self.token(
            flow.client_id,
            replica,
            grant_type="authorization_code",
            code=code,
            redirect_uri=flow.redirect_uri,
            code_verifier=flow.verifier,
        )

    async def api(self, method: str, path: str, replica: int, token: str, body: object = None) -> httpx.Response:
        """A request to the API of one resource service."""
        self.door.at["resource"] = replica
        headers = {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, f"{self.system.ports.origin}/api{path}", headers=headers, json=body)

    async def ready(self, service: str, replica: int) -> dict[str, Any]:
        """What a replica says about itself."""
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answer = await client.get(f"http://{LOOPBACK}:{self.ports[replica].http(service)}/readyz")
        return dict(answer.json()["checks"])

    @asynccontextmanager
    async def registry(self, replica: int) -> AsyncIterator[Any]:
        """One registry, for Brian."""
        open_one: grpc.aio.Channel = channel(
            self.ports[replica].grpc_address("registry"), self._operator.tls(), "registry"
        )
        async with open_one:
            yield RegistryStub(open_one)

    async def validate(self, replica: int, token: str) -> Any:
        """What one issuer says of a token for the API."""
        tls = self._operator.tls()
        async with channel(self.ports[replica].grpc_address("token_issuer"), tls, "token_issuer") as open_one:
            request = validation_pb2.ValidateRequest(token=token, audience=f"{self.system.ports.origin}/api")
            return await ValidationStub(open_one).Validate(request)

    async def close(self) -> None:
        """Hang up."""
        await self.http.aclose()


@asynccontextmanager
async def doubled(system: System) -> AsyncIterator[list[Ports]]:
    """A second replica of each service; the ports of both."""
    second = free_ports()
    names = await asyncio.gather(*(system.add_replica(service, second) for service in SERVICES))
    try:
        yield [system.ports, second]
    finally:
        await asyncio.gather(*(system.stop_part(name) for name in names))
