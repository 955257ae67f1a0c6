"""The registry as it runs: real PostgreSQL, real gRPC with mutual TLS. Only the tokens of its callers are made up."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest

from protos.stagedoor.registry.v1.installation_pb2_grpc import InstallationStub, add_InstallationServicer_to_server
from protos.stagedoor.registry.v1.registration_pb2_grpc import RegistrationStub, add_RegistrationServicer_to_server
from protos.stagedoor.registry.v1.registry_pb2_grpc import RegistryStub, add_RegistryServicer_to_server
from services.registry import events, installation_rpc, registration_rpc
from services.registry.installing import Installing
from services.registry.rpc import RULES, SERVICE, RegistryService
from services.registry.system import INSTALLER, SystemRegistrations
from shared.clock import system_clock
from shared.errors import Kind, Refusal
from shared.http.outgoing import Outgoing, Reach
from shared.keys import MasterKey
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.rpc.caller import Person
from shared.rpc.client import channel, translate
from shared.rpc.server import RpcServer
from tests.support.parties import Parties
from tests.support.postgres import Database

ORIGIN = "http://127.0.0.1:8400"
ISSUER = f"{ORIGIN}/id"
MASTER = MasterKey(bytes(range(32)))


async def authenticate(token: str) -> Person:
    """In the place of the guard: a token is the role that its person has; one of the install pages has an age, too."""
    role, _, seconds = token.partition(".signed-in-before.")
    if role not in {"administrator", "auditor", "nobody"}:
        raise Refusal(Kind.UNAUTHENTICATED, "bad_signature", "the signature of the token is wrong")
    if seconds:
        auth_time = int(system_clock().timestamp()) - int(seconds)
        return Person("brian", INSTALLER, frozenset({role}), frozenset({"sec"}), "jti", 1, auth_time)
    return Person("brian", "com.stagedoor/cli", frozenset({token}), frozenset({"sec"}), "jti", 1)


@dataclass
class Clock:
    """A clock that can be set forward."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return system_clock() + self.ahead


@dataclass
class Running:
    """A registry, and a client of it with an operator's certificate."""

    log: Log
    server: RpcServer
    stub: RegistryStub
    registration: RegistrationStub
    installation: InstallationStub
    pages: InstallationStub
    """The same, for a client with the certificate of the identity service."""

    async def __call__(
        self, request: Any, *, key: UUID | None = None, role: str | None = "administrator", stub: Any = None
    ) -> Any:
        """Call the method that takes this request; raises what it refuses as `Refusal`."""
        name = type(request).__name__.removesuffix("Request")
        stubs = (stub,) if stub else (self.stub, self.registration, self.installation)
        method = next(getattr(one, name) for one in stubs if hasattr(one, name))
        metadata = [("authorization", f"Bearer {role}")] if role else []
        if key is not None:
            metadata.append(("idempotency-key", str(key)))
        try:
            return await method(request, metadata=tuple(metadata))
        except grpc.aio.AioRpcError as error:
            raise translate(error) from None

    async def events(self) -> list[str]:
        """What is in the log, by name, in order."""
        return [recorded.event.stored_as for recorded in await self.log.read(0)]


@pytest.fixture
async def log(database: Database) -> Log:
    """The log as the registry's login sees it."""
    return await database.log("registry", Catalogue.of(events))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def registry(log: Log, parties: Parties, clock: Clock, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    """A module that says `DEMO = True` has documents fetched from this machine."""
    demo = bool(getattr(request.module, "DEMO", False))
    await SystemRegistrations(log, MASTER, ORIGIN, ISSUER).run()
    rules = {**RULES, **registration_rpc.RULES, **installation_rpc.RULES}
    server = RpcServer("127.0.0.1:0", parties.service("registry"), rules, authenticate)
    server.add(add_RegistryServicer_to_server, RegistryService(log, MASTER, ISSUER, clock), SERVICE)
    by_program = registration_rpc.RegistrationService(log, MASTER, clock)
    server.add(add_RegistrationServicer_to_server, by_program, registration_rpc.SERVICE)
    outgoing = Outgoing(Reach(loopback=demo), at_once=4, seconds=5.0)
    by_link = installation_rpc.InstallationService(log, MASTER, Installing(log, MASTER, outgoing, demo=demo), clock)
    server.add(add_InstallationServicer_to_server, by_link, installation_rpc.SERVICE)
    await server.start()
    address = f"127.0.0.1:{server.port}"
    try:
        async with (
            channel(address, parties.operator(), "registry") as opened,
            channel(address, parties.service("identity"), "registry") as of_identity,
        ):
            yield Running(
                log,
                server,
                RegistryStub(opened),
                RegistrationStub(opened),
                InstallationStub(opened),
                InstallationStub(of_identity),
            )
    finally:
        await server.stop(None)
        await outgoing.close()
