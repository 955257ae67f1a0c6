"""Programs that register applications at a registry as it runs, and the administrator who lets them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.registry.v1 import registration_pb2 as pb
from protos.stagedoor.registry.v1 import registry_pb2
from services.registry.http import application
from services.registry.registering import Registering
from shared.clock import Clock
from shared.http.attempts import USUAL, Attempts, Budgets
from shared.http.client_address import LOOPBACK, ClientAddresses
from shared.http.serve import Readiness, layers
from tests.support.registry import ISSUER, MASTER, ORIGIN, Running

REGISTER = f"{ISSUER}/connect/register"
CALLBACK = "https://tour.example/callback"


@dataclass
class Programs:
    """The registry over HTTP, and over gRPC for the administrator."""

    registry: Running
    http: httpx.AsyncClient
    now: Clock
    tokens: dict[str, str] = field(default_factory=dict)
    """Ids of initial access tokens, by the token."""

    async def allow(self, *, days: float = 1, **limits: Any) -> str:
        """An initial access token, for one application that reads if nothing else is said."""
        ends = Timestamp()
        ends.FromDatetime(self.now().astimezone(UTC).replace(tzinfo=None) + timedelta(days=days))
        asked = {"purpose": "Tests", "scopes": ["read"], **limits}
        issued = await self.registry(pb.IssueInitialAccessTokenRequest(expires_at=ends, **asked))
        self.tokens[issued.initial_access_token] = issued.token.token_id
        return str(issued.initial_access_token)

    async def revoke(self, token: str) -> None:
        """Revoke an initial access token."""
        await self.registry(pb.RevokeInitialAccessTokenRequest(token_id=self.tokens[token]))

    async def register(self, token: str, **metadata: Any) -> httpx.Response:
        """What comes of a request to register; an application with one redirect URI if nothing else is said."""
        said = {"redirect_uris": [CALLBACK], **metadata}
        return await self.http.post(REGISTER, json=said, headers=bearer(token))

    async def registered(self, token: str | None = None, **metadata: Any) -> "Registered":
        """An application that was registered."""
        answer = await self.register(token or await self.allow(), **metadata)
        assert answer.status_code == 201, answer.text
        return Registered(self, answer.json())

    async def count(self) -> int:
        """How many applications were ever registered by programs."""
        names = await self.registry.events()
        return names.count("registry.ApplicationDynamicallyRegistered")


@dataclass
class Registered:
    """An application, and what it was answered."""

    programs: Programs
    said: dict[str, Any]

    @property
    def client_id(self) -> str:
        return str(self.said["client_id"])

    @property
    def uri(self) -> str:
        return str(self.said["registration_client_uri"])

    @property
    def token(self) -> str:
        return str(self.said["registration_access_token"])

    async def read(self, token: str | None = None) -> httpx.Response:
        return await self.programs.http.get(self.uri, headers=bearer(token or self.token))

    async def change(self, token: str | None = None, **metadata: Any) -> httpx.Response:
        said = {"client_id": self.client_id, "redirect_uris": [CALLBACK], **metadata}
        return await self.programs.http.put(self.uri, json=said, headers=bearer(token or self.token))

    async def remove(self, token: str | None = None) -> httpx.Response:
        return await self.programs.http.delete(self.uri, headers=bearer(token or self.token))


def bearer(token: str) -> dict[str, str]:
    """RFC 6750 section 2.1."""
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def programs_of(
    registry: Running, clock: Clock, budgets: Budgets = USUAL, *, demo: bool = False
) -> AsyncIterator[Programs]:
    """Programs, and an API with the scopes read and update."""

    async def ready() -> Readiness:
        return Readiness({})

    owned = [registry_pb2.Scope(name=name, description=f"{name} tours") for name in ("read", "update")]
    settings = registry_pb2.ResourceSettings(display_name="Tours", scopes=owned)
    await registry(registry_pb2.RegisterResourceRequest(identifier=f"{ORIGIN}/api", settings=settings))
    registering = Registering(registry.log, MASTER, ISSUER, clock, demo=demo)
    app = layers(application(registering, Attempts(ClientAddresses(LOOPBACK), budgets), ISSUER), ready, 1000)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 40000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as http:
        yield Programs(registry, http, clock)


def moment(seconds: int) -> datetime:
    """Of a `client_id_issued_at`."""
    return datetime.fromtimestamp(seconds, UTC)
