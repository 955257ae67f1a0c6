"""The management RPCs of the identity service as an operator calls them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from protos.stagedoor.identity.v1.identity_pb2_grpc import IdentityStub, add_IdentityServicer_to_server
from services.identity.rpc import RULES, SERVICE
from shared.errors import Kind, Refusal
from shared.rpc.caller import Person
from shared.rpc.client import channel, translate
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from tests.support.identity_service import Identity
from tests.support.parties import Parties
from tests.support.ports import free_ports


@dataclass
class Tokens:
    """Stands for the guard: a token is a name, and roles."""

    roles: dict[str, frozenset[str]] = field(default_factory=dict)

    async def authenticate(self, token: str) -> Person:
        if token not in self.roles:
            raise Refusal(Kind.UNAUTHENTICATED, "invalid_token", "the token is not valid here")
        return Person(token, "com.stagedoor/cli", self.roles[token], frozenset({"sec"}), f"jti-{token}", 1)


@dataclass
class Operator:
    """Calls as somebody."""

    stub: Any
    tokens: Tokens
    person: str = "brian-sub"

    async def __call__(self, method: str, request: Any, *, key: str = "", person: str | None = None) -> Any:
        token = self.person if person is None else person
        metadata = [("authorization", f"Bearer {token}")] if token else []
        if key:
            metadata.append(("idempotency-key", key))
        return await getattr(self.stub, method)(request, metadata=metadata)

    async def refused(self, method: str, request: Any, **options: Any) -> Refusal:
        """The refusal that the call is answered with."""
        try:
            answer = await self(method, request, **options)
        except grpc.aio.AioRpcError as error:
            return translate(error)
        raise AssertionError(f"not refused: {answer}")


@asynccontextmanager
async def operating(identity: Identity, parties: Parties, tls: Tls | None = None) -> AsyncIterator[Operator]:
    """The service's RPCs behind mutual TLS, and an operator who calls them as an administrator."""
    tokens = Tokens({"brian-sub": frozenset({"administrator"}), "auditor": frozenset({"auditor"}), "fan": frozenset()})
    bind = free_ports().grpc_address("identity")
    server = RpcServer(bind, parties.service("identity"), RULES, tokens.authenticate)
    server.add(add_IdentityServicer_to_server, identity.parts.rpc, SERVICE)
    await server.start()
    connection = channel(bind, tls or parties.operator(), "identity")
    try:
        yield Operator(IdentityStub(connection), tokens)
    finally:
        await connection.close(None)
        await server.stop(None)
