"""Every place where a running system takes a JWT for true, and tokens that are honest there."""

import json
import tomllib
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import grpc
import httpx

from infra.local.certificates import Authority
from infra.local.process import until
from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from protos.stagedoor.registry.v1.registry_pb2 import ListApplicationsRequest
from protos.stagedoor.registry.v1.registry_pb2_grpc import RegistryStub
from shared.rpc.client import channel
from shared.rpc.tls import Tls
from stagedoor.validation.v1.validation_pb2 import ValidateRequest
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub
from tests.support.sdk_tokens import b64

HUB = "com.backstagehub/app"
FREDDIE = ("freddie", "a-kind-of-magic-1986")

_PATIENCE_SECONDS = 15.0
API, USERINFO, INTROSPECTION = "api", "userinfo", "introspection"
VALIDATE, MANAGEMENT, HINT = "validate", "management", "hint"
REFUSED = {
    API: "401 invalid_token",
    USERINFO: "401 invalid_token",
    INTROSPECTION: "inactive",
    VALIDATE: "denied",
    MANAGEMENT: "UNAUTHENTICATED",
    HINT: "invalid_request",
}
"""What each door says to a token that is none."""


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Header, claims and signature of a JWT, as it says them."""
    header, payload, signature = token.split(".")
    return _said(header), _said(payload), signature


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """What would be signed."""
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"


def _said(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@dataclass(frozen=True)
class Honest:
    """What Freddie's sign-in at BackstageHub gave, and Brian's token for management."""

    access_token: str = field(repr=False)
    id_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    management: str = field(repr=False)
    jwks: dict[str, Any]

    @property
    def access_tokens(self) -> tuple[str, str]:
        """Of both audiences."""
        return self.access_token, self.management


class Doors:
    """A running system from outside."""

    honest: Honest

    def __init__(self, system: System, http: httpx.AsyncClient) -> None:
        self.system = system
        self.http = http
        self.origin, self.issuer = system.ports.origin, system.ports.issuer

    def tls(self, name: str = "resource") -> Tls:
        """The certificate of one of the services, or of the operator."""
        authority = Authority(self.system.home.certificates)
        shown = authority.operator() if name == "operator" else authority.service(name)
        return Tls.read_files(authority.certificate, shown.certificate, shown.key)

    @property
    def bearer(self) -> dict[str, str]:
        """The header that presents Freddie's access token."""
        return {"Authorization": f"Bearer {self.honest.access_token}"}

    def secret(self, client_id: str = HUB) -> httpx.BasicAuth:
        """How a demo application proves to be itself."""
        return httpx.BasicAuth(quote_plus(client_id), self.application(client_id)["client_secret"])

    def application(self, client_id: str) -> dict[str, Any]:
        """A demo application, as its developer has it."""
        (found,) = [one for one in self.system.demo["applications"] if one["client_id"] == client_id]
        return dict(found)

    def flow(self, scope: str, **more: str) -> CodeFlow:
        """An authorization request of BackstageHub's."""
        return CodeFlow(self.issuer, HUB, self.application(HUB)["redirect_uris"][0], scope, more)

    async def sign_in(self, scope: str) -> dict[str, object]:
        """What Freddie's sign-in at BackstageHub gives."""
        flow = self.flow(scope)
        async with Visitor(*FREDDIE) as freddie:
            code = flow.code(await freddie.go(flow.address))
        return await flow.redeem(code, client_secret=self.application(HUB)["client_secret"])

    async def answers(self, token: str) -> dict[str, str]:
        """What every door says to a token."""
        return {
            API: await self.api(token),
            USERINFO: await self.userinfo(token),
            INTROSPECTION: await self.introspection(token),
            VALIDATE: await self.validate(token),
            MANAGEMENT: await self.management(token),
            HINT: await self.hint(token),
        }

    async def api(self, token: str) -> str:
        """The resource service."""
        return await self._bearer(f"{self.origin}/api/tours", token)

    async def userinfo(self, token: str) -> str:
        """The identity service."""
        return await self._bearer(f"{self.issuer}/connect/userinfo", token)

    async def _bearer(self, address: str, token: str) -> str:
        answer = await self.http.get(address, headers={"Authorization": f"Bearer {token}"})
        challenge = answer.headers.get("www-authenticate", "")
        return f"{answer.status_code} {challenge.partition('error=')[2].partition(',')[0].strip(chr(34))}".strip()

    async def introspection(self, token: str) -> str:
        """The token issuer, asked by the application that the honest tokens are for."""
        answer = await self.http.post(f"{self.issuer}/connect/introspect", data={"token": token}, auth=self.secret())
        if not answer.is_success:
            return f"{answer.status_code} {answer.json()['error']}"
        return "active" if answer.json() != {"active": False} else "inactive"

    async def validate(self, token: str) -> str:
        """The token issuer over gRPC, asked by the resource service."""
        connection = channel(self.system.ports.grpc_address("token_issuer"), self.tls(), "token_issuer")
        try:
            request = ValidateRequest(token=token, audience=f"{self.origin}/api")
            answer = await ValidationStub(connection).Validate(request, timeout=10, wait_for_ready=True)
        finally:
            await connection.close(None)
        return "allowed" if answer.allowed else "denied"

    async def management(self, token: str) -> str:
        """The registry's management, with an operator's certificate; asked again while it cannot say."""
        said = ""

        async def decided() -> bool:
            nonlocal said
            said = await self._management(token)
            return said != "UNAVAILABLE"

        await until(decided, _PATIENCE_SECONDS)
        return said

    async def _management(self, token: str) -> str:
        connection = channel(self.system.ports.grpc_address("registry"), self.tls("operator"), "registry")
        try:
            await RegistryStub(connection).ListApplications(
                ListApplicationsRequest(), metadata=(("authorization", f"Bearer {token}"),), timeout=10
            )
        except grpc.aio.AioRpcError as error:
            return error.code().name
        finally:
            await connection.close(None)
        return "OK"

    async def hint(self, token: str) -> str:
        """The authorization endpoint, shown it as the ID token of who is signed in."""
        flow = self.flow("openid", id_token_hint=token, prompt="none")
        answer = await self.http.get(flow.address)
        if answer.status_code != 303:
            return str(answer.status_code)
        return parse_qs(urlsplit(answer.headers["location"]).query)["error"][0]


@asynccontextmanager
async def opened(system: System) -> AsyncIterator[Doors]:
    """The doors of a system, with honest tokens that were just given."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        doors = Doors(system, http)
        given = await doors.sign_in("openid profile offline_access read update")
        doors.honest = Honest(
            **{name: str(given[name]) for name in ("access_token", "id_token", "refresh_token")},
            management=tomllib.loads((system.home.path / "profile.toml").read_text())["access_token"],
            jwks=(await http.get(f"{doors.issuer}/connect/jwks")).json(),
        )
        yield doors
