"""The validation service, served for tests over a real log; the tests sign the tokens themselves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from services.registry.events import ResourceRegistered, ResourceSettings, Scope
from services.token_issuer.audiences import AudienceCallers
from services.token_issuer.references.checks import ReferenceChecks
from services.token_issuer.references.tables import ReferenceQuestions
from services.token_issuer.references.uses import Uses
from services.token_issuer.scopes import Places
from services.token_issuer.subscriptions import PROJECTION, project
from services.token_issuer.validation import RAW, RULES, SERVICE, ValidationService
from shared.clock import system_clock
from shared.log_feed import LogFeed
from shared.messaging import Follower
from shared.rpc.client import channel
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from shared.wake import Wake
from stagedoor import Guard
from stagedoor.keys import StaticKeys
from stagedoor.validation.v1 import validation_pb2 as pb
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub, add_ValidationServicer_to_server
from tests.support.facts import Facts
from tests.support.parties import Parties
from tests.support.ports import free_port
from tests.support.sdk_tokens import AUDIENCE, ISSUER, SigningKey, claims
from tests.support.work import Work, eventually

PLACES = Places(userinfo=f"{ISSUER}/connect/userinfo", management="https://api.example.com/management")
ANOTHER = "https://api.example.com/another"
SETTINGS = ResourceSettings(
    display_name="Tours",
    scopes=(Scope(name="read", description="read"), Scope(name="update", description="change")),
    callers=("resource/stagehands", "service/resource", "client:com.example/api"),
)


@dataclass
class Serving:
    """The running service."""

    facts: Facts
    guard: Guard
    key: SigningKey
    address: str
    parties: Parties
    service: ValidationService

    @asynccontextmanager
    async def connected(self, tls: Tls | None = None) -> AsyncIterator[Any]:
        """A stub over a channel with a certificate; that of `resource/stagehands` unless told otherwise."""
        connection = channel(self.address, tls or self.parties.resource("stagehands"), "token_issuer")
        try:
            yield ValidationStub(connection)
        finally:
            await connection.close(None)

    async def token(self, **changes: Any) -> str:
        """A token that was issued at the present head of the log."""
        head = await (await self.facts.log("token_issuer")).head()
        return self.key.sign(claims(**{"pos": head.position, "epoch": head.epoch, **changes}))

    async def ask(self, token: str, **asked: Any) -> pb.ValidateResponse:
        """One question."""
        async with self.connected() as stub:
            answer: pb.ValidateResponse = await stub.Validate(
                pb.ValidateRequest(**{"token": token, "audience": AUDIENCE, **asked}), timeout=10, wait_for_ready=True
            )
            return answer


@asynccontextmanager
async def serving(facts: Facts, work: Work, parties: Parties) -> AsyncIterator[Serving]:
    """The service on a free port."""
    log = await facts.log("token_issuer")
    wake = Wake(log)
    work.start(wake.run())
    for name, identifier in (("tours", AUDIENCE), ("another", ANOTHER)):
        settings = SETTINGS if identifier == AUDIENCE else SETTINGS.model_copy(update={"callers": ()})
        registered = ResourceRegistered(resource_id=name, identifier=identifier, settings=settings)
        await facts.write(f"resource-{name}", registered)
    await Follower(log, PROJECTION, ("registry", "identity"), project, None).reach(2)
    key = SigningKey()
    feed = LogFeed(log, wake)
    guard = Guard(issuer=ISSUER, audience=AUDIENCE, feed=feed, keys=StaticKeys([key.public]), wait=2.0)
    questions = ReferenceQuestions(log.pool)
    references = ReferenceChecks(questions, guard, feed, Uses(log, questions, system_clock), system_clock)
    address = f"127.0.0.1:{free_port()}"
    server = RpcServer(address, parties.service("token_issuer"), RULES)
    service = ValidationService(guard, AudienceCallers(log.pool, PLACES), log, wake, 0.1, references=references)
    server.add(add_ValidationServicer_to_server, service, SERVICE, raw=RAW)
    await server.start()
    async with guard:
        await eventually(guard.ready)
        try:
            yield Serving(facts, guard, key, address, parties, service)
        finally:
            await server.stop(None)
