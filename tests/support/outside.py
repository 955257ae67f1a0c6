"""Everybody outside a running system: applications, people with their browsers, and Brian, who manages it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote_plus

import grpc
import httpx
from google.protobuf.timestamp_pb2 import Timestamp

from infra.local import demo
from infra.local.demo_data import BACKSTAGEHUB
from infra.local.sign_in import CodeFlow, Visitor
from infra.local.system import System
from protos.stagedoor.identity.v1 import identity_pb2
from protos.stagedoor.identity.v1.identity_pb2_grpc import IdentityStub
from protos.stagedoor.registry.v1 import registry_pb2
from protos.stagedoor.registry.v1.registry_pb2_grpc import RegistryStub
from protos.stagedoor.tokens.v1 import tokens_pb2
from protos.stagedoor.tokens.v1.tokens_pb2_grpc import TokensStub
from services.cli import profile
from shared.ids import new_id
from shared.rpc.client import channel
from tests.support.browsing import Page

SCOPE = "openid offline_access read update"
_REDIRECT = "http://localhost:8999/callback"


class NotNow(RuntimeError):  # noqa: N818  (it says what it is)
    """The answer was 503: it may be asked again."""


@dataclass(frozen=True, slots=True)
class App:
    """An application that has a secret."""

    client_id: str
    secret: str = field(repr=False)
    redirect_uri: str = _REDIRECT

    @property
    def auth(self) -> httpx.BasicAuth:
        """How it proves to be itself (RFC 6749 section 2.3.1)."""
        return httpx.BasicAuth(quote_plus(self.client_id), self.secret)


@dataclass(frozen=True, slots=True)
class Given:
    """What an authorization code brought."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    id_token: str = field(repr=False)
    code: str = field(repr=False)
    flow: CodeFlow = field(repr=False)


class Person:
    """Somebody with any number of browsers."""

    def __init__(self, outside: "Outside", name: str, password: str, sub: str) -> None:
        self.name, self.sub = name, sub
        self.password = password
        self._outside = outside
        self.browser = Visitor(name, password)

    async def use(self, app: App, visitor: Visitor | None = None) -> Given:
        """Sign in at an application, where need be at the identity server first."""
        flow = CodeFlow(self._outside.issuer, app.client_id, app.redirect_uri, SCOPE)
        code = flow.code(await (visitor or self.browser).go(flow.address))
        form = {"code": code, "redirect_uri": app.redirect_uri, "code_verifier": flow.verifier}
        said = await self._outside.token(app, grant_type="authorization_code", **form)
        return Given(said["access_token"], said["refresh_token"], said["id_token"], code, flow)

    def elsewhere(self) -> Visitor:
        """Another browser of theirs."""
        return Visitor(self.name, self.password)

    async def sign_out(self, visitor: Visitor, given: Given) -> None:
        """Sign out in that browser, as the application asks (OpenID Connect RP-Initiated Logout)."""
        address = f"{self._outside.issuer}/connect/endsession"
        answer = await visitor.browser.get(address, params={"id_token_hint": given.id_token})
        _expect(answer, 303)

    async def change_password(self, new: str) -> None:
        """On their own page, in their usual browser."""
        address = f"{self._outside.issuer}/account/password"
        page = Page(await self.browser.browser.get(address))
        answer = await self.browser.browser.post(
            f"{self._outside.system.ports.origin}{page.form.action}",
            data={
                **page.form.fields,
                "current_password": self.password,
                "new_password": new,
                "new_password_again": new,
            },
            headers={"Origin": self._outside.system.ports.origin},
        )
        _expect(answer, 303)
        self.password = new

    async def forget_browser(self, password: str) -> None:
        """From now on with this password, in a browser that nobody has signed in at."""
        await self.browser.browser.aclose()
        self.password = password
        self.browser = Visitor(self.name, password)


class Outside:
    """Clients of everything. What is not answered as expected raises `RuntimeError` or what the client raises."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.issuer = system.ports.issuer
        self.http = httpx.AsyncClient(trust_env=False, timeout=30, limits=httpx.Limits(max_connections=50))
        self._operator = profile.read(system.home.path / "profile.toml")
        self._channels: list[grpc.aio.Channel] = []
        self.registry: Any = RegistryStub(self._channel("registry"))
        self.identity: Any = IdentityStub(self._channel("identity"))
        self.tokens: Any = TokensStub(self._channel("token_issuer"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()
        await asyncio.gather(*(one.close(None) for one in self._channels))

    def _channel(self, service: str) -> grpc.aio.Channel:
        made = channel(self._operator.grpc[service], self._operator.tls(), service)
        self._channels.append(made)
        return made

    def demo_app(self, client_id: str = BACKSTAGEHUB) -> App:
        """One of the demo's applications."""
        (found,) = [one for one in self.system.demo["applications"] if one["client_id"] == client_id]
        return App(client_id, found["client_secret"], *found["redirect_uris"][:1])

    # Brian

    async def manage(self, method: Callable[..., Any], request: Any) -> Any:
        """A change by Brian over gRPC."""
        return await method(request, metadata=(("authorization", f"Bearer {self._operator.access_token}"),), timeout=30)

    @property
    def administrator(self) -> str:
        """Brian's access token."""
        return self._operator.access_token

    async def renew(self) -> None:
        """Brian's access token from his refresh token."""
        await demo.seed(self.system.home, self.system.ports)
        self._operator = profile.read(self.system.home.path / "profile.toml")

    async def register_app(self, *grants: str, service_account: str = "", references: str = "none") -> App:
        """A new application, for reading and updating."""
        client_id = f"com.bench/{token_hex(8)}"
        settings = registry_pb2.ApplicationSettings(
            display_name="Bench",
            type="confidential",
            scopes=["read", "update"],
            grants=grants or ["client_credentials"],
            redirect_uris=[_REDIRECT] if "authorization_code" in grants else [],
            auth_method="client_secret_basic",
            service_account=service_account,
            reference_tokens=references,
        )
        request = registry_pb2.RegisterApplicationRequest(client_id=client_id, settings=settings)
        made = await self.manage(self.registry.RegisterApplication, request)
        return App(client_id, made.client_secret)

    async def register_person(self, *roles: str) -> Person:
        """Somebody new who can sign in."""
        name, password = f"bench-{token_hex(8)}", new_id()
        request = identity_pb2.RegisterUserRequest(user_name=name, kind="internal", roles=roles, password=password)
        made = await self.manage(self.identity.RegisterUser, request)
        return Person(self, name, password, made.sub)

    async def register_service_user(self) -> str:
        """A user that never signs in; its `sub`."""
        request = identity_pb2.RegisterUserRequest(user_name=f"bench-{token_hex(8)}", kind="service")
        return str((await self.manage(self.identity.RegisterUser, request)).sub)

    async def reference(self, app: App, kind: str = "sat") -> tuple[str, str]:
        """A reference token and its id."""
        ends = Timestamp()
        ends.FromDatetime(datetime.now(UTC) + timedelta(days=30))
        request = tokens_pb2.IssueReferenceRequest(
            kind=kind, client_id=app.client_id, scopes=["read"], expires_at=ends, label="bench"
        )
        made = await self.manage(self.tokens.IssueReference, request)
        return made.token, made.jti

    # Applications

    async def token(self, app: App, **form: str) -> dict[str, Any]:
        """A successful request to the token endpoint."""
        answer = await self.http.post(f"{self.issuer}/connect/token", data=form, auth=app.auth)
        _expect(answer, 200)
        found: dict[str, Any] = answer.json()
        return found

    async def client_token(self, app: App, scope: str = "read") -> str:
        """An access token of the application itself."""
        return str((await self.token(app, grant_type="client_credentials", scope=scope))["access_token"])

    async def used_up(self, app: App, **form: str) -> None:
        """A request to the token endpoint that is refused, as its code or refresh token has been used."""
        answer = await self.http.post(f"{self.issuer}/connect/token", data=form, auth=app.auth)
        _expect(answer, 400)

    async def revoke(self, app: App, token: str) -> None:
        """RFC 7009."""
        _expect(await self.http.post(f"{self.issuer}/connect/revocation", data={"token": token}, auth=app.auth), 200)

    async def introspect(self, app: App, token: str) -> bool:
        """Whether a token is active (RFC 7662)."""
        answer = await self.http.post(f"{self.issuer}/connect/introspect", data={"token": token}, auth=app.auth)
        _expect(answer, 200)
        return bool(answer.json()["active"])

    async def call(self, path: str, token: str) -> int:
        """The status that the API, or userinfo, answers a token with."""
        answer = await self.http.get(f"{self.system.ports.origin}{path}", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code


def _expect(answer: httpx.Response, status: int) -> None:
    if answer.status_code != status:
        kind = NotNow if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else RuntimeError
        raise kind(f"{answer.request.url.path} answered {answer.status_code}: {answer.text[:200]}")
