"""How the load talks to a system: what an answer means, and what is tried again."""

import asyncio
import json
import random
import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote_plus

import grpc
import httpx

from infra.local.ports import LOOPBACK, Ports
from infra.local.system import System
from protos.stagedoor.identity.v1.identity_pb2_grpc import IdentityStub
from protos.stagedoor.registry.v1.registry_pb2_grpc import RegistryStub
from services.cli import profile
from shared.errors import Kind, Refusal, Unavailable
from shared.ids import new_command_id
from shared.rpc.client import channel, translate
from tests.chaos.journal import Journal, Operation

PATIENCE_SECONDS = 45.0
"""How long one operation is tried again before its outcome stays unknown."""
_MALFUNCTION = 500

Send = Callable[[str], Awaitable[httpx.Response]]
"""Sends one attempt, with this correlation id."""


def claims(token: str) -> dict[str, Any]:
    """What a JWT says, unverified."""
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def basic(client_id: str, secret: str) -> httpx.BasicAuth:
    """Client authentication (RFC 6749 section 2.3.1)."""
    return httpx.BasicAuth(quote_plus(client_id), secret)


class Clients:
    """Everybody outside the system."""

    def __init__(
        self, system: System, journal: Journal, second: Ports | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        """`second`: where a second token issuer is, to which every other request for a token goes."""
        self.system = system
        self.journal = journal
        self.issuer = system.ports.issuer
        self.api = f"{system.ports.origin}/api"
        self.http = httpx.AsyncClient(trust_env=False, timeout=15, limits=httpx.Limits(max_connections=50))
        self._second = None if second is None else f"http://{LOOPBACK}:{second.http('token_issuer')}/id"
        self._turn = 0
        self._patience = patience
        self._operator = profile.read(system.home.path / "profile.toml")
        self._channels: list[grpc.aio.Channel] = []

    def _channel(self, service: str) -> grpc.aio.Channel:
        made = channel(self._operator.grpc[service], self._operator.tls(), service)
        self._channels.append(made)
        return made

    def registry(self) -> RegistryStub:
        """The registry, for Brian."""
        return RegistryStub(self._channel("registry"))

    def identity(self) -> IdentityStub:
        """Identity, for Brian."""
        return IdentityStub(self._channel("identity"))

    async def close(self) -> None:
        """Hang up."""
        await self.http.aclose()
        await asyncio.gather(*(one.close(None) for one in self._channels))

    async def once(self, operation: Operation, send: Send) -> httpx.Response | None:
        """One attempt; None: nothing is known of what became of it."""
        try:
            answer = await send(operation.attempt())
        except httpx.HTTPError:
            return None
        if answer.status_code == _MALFUNCTION:
            self.journal.wrong.append(f"{operation.what}: {answer.status_code} {answer.text[:200]}")
        return None if answer.is_server_error else answer

    async def until_answered(self, dice: random.Random, operation: Operation, send: Send) -> httpx.Response | None:
        """The same again and again, until there is an answer or no patience left."""
        deadline = time.monotonic() + self._patience
        while True:
            answer = await self.once(operation, send)
            if answer is not None or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(dice.uniform(0.05, 0.3))

    async def manage(
        self, dice: random.Random, operation: Operation, method: Callable[..., Any], request: object
    ) -> Any:
        """A change by Brian over gRPC, under one idempotency key, until it is answered.

        None: it was refused, or there was no patience left; the operation has noted which.
        """
        key = str(new_command_id())
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            metadata = (
                ("idempotency-key", key),
                ("authorization", f"Bearer {self._operator.access_token}"),
                ("correlation-id", operation.attempt()),
            )
            try:
                return await method(request, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                refusal = translate(error)
            if not isinstance(refusal, Unavailable):
                self._note(operation, refusal)
                return None
            await asyncio.sleep(dice.uniform(0.05, 0.3))
        return None

    def _note(self, operation: Operation, refusal: Refusal) -> None:
        if refusal.kind is Kind.UNAUTHENTICATED:
            self.journal.wrong.append(f"{operation.what}: a good token was refused: {refusal.message}")
        operation.refused(refusal.code)

    async def token(self, client_id: str, secret: str, course: str, **form: str) -> httpx.Response:
        """A request to the token endpoint: of either issuer in turn, and of the other if one does not take it."""
        self._turn += 1
        issuers = [self.issuer, self._second or self.issuer]
        for issuer in issuers if self._turn % 2 else reversed(issuers):
            with suppress(httpx.ConnectError):  # nothing was sent
                return await self.http.post(
                    f"{issuer}/connect/token",
                    data=form,
                    auth=basic(client_id, secret),
                    headers={"Correlation-Id": course},
                )
        raise httpx.ConnectError("no issuer takes requests")

    async def call(
        self, method: str, path: str, token: str, course: str, key: str | None = None, body: object = None
    ) -> httpx.Response:
        """A request to the API."""
        headers = {"Authorization": f"Bearer {token}", "Correlation-Id": course}
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self.http.request(method, f"{self.api}{path}", headers=headers, json=body)
