"""The ledger's service, served for tests; tokens are names of people whom the test gives roles."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from protos.stagedoor.ledger.v1.ledger_pb2_grpc import LedgerStub, add_LedgerServicer_to_server
from services.ledger.main import HISTORIES
from services.ledger.rpc import RULES, SERVICE, LedgerService
from shared.clock import system_clock
from shared.errors import Kind, Refusal
from shared.evidence.checkpoints import Signer
from shared.evidence.keeping import Evidence
from shared.keys import MasterKey
from shared.rpc.caller import Person
from shared.rpc.client import channel
from shared.rpc.server import RpcServer
from shared.wake import Wake
from tests.support.facts import Facts
from tests.support.parties import Parties
from tests.support.ports import free_port
from tests.support.work import Work

SIGNER = Signer(MasterKey(b"k" * 32), "https://id.example/id")


class People:
    """Who has which roles, by token."""

    def __init__(self) -> None:
        self.roles = {"brian": {"administrator"}, "auditor": {"auditor"}, "freddie": set[str]()}

    async def authenticate(self, token: str) -> Person:
        """The person of a token."""
        if token not in self.roles:
            raise Refusal(Kind.UNAUTHENTICATED, "denied_subject", "the token is not accepted")
        roles = frozenset(self.roles[token])
        return Person(token, "com.stagedoor/cli", roles, frozenset({"sec"}), f"jti-{token}", 1)


@dataclass
class Serving:
    """The running service."""

    stub: Any
    """A `LedgerStub`; its type knows nothing of asyncio."""
    people: People
    facts: Facts
    address: str
    evidence: Evidence

    async def read(self, *, token: str = "auditor", **asked: Any) -> tuple[list[pb.Event], int]:
        """A whole answer: the events, and up to where it is complete."""
        events: list[pb.Event] = []
        complete_to = -1
        async for message in self.follow(token=token, **asked):
            if message.WhichOneof("message") == "events":
                assert complete_to < message.events.events[0].position
                events += message.events.events
            elif message.WhichOneof("message") == "complete_to":
                complete_to = message.complete_to
        return events, complete_to

    def follow(self, *, token: str = "auditor", **asked: Any) -> AsyncIterator[pb.ReadResponse]:
        """An answer, message by message."""
        request = pb.ReadRequest(**asked)
        call: AsyncIterator[pb.ReadResponse] = self.stub.Read(
            request, metadata=(("authorization", f"Bearer {token}"),), timeout=20
        )
        return call


@asynccontextmanager
async def serving(facts: Facts, work: Work, parties: Parties, folder: Path) -> AsyncIterator[Serving]:
    """The service on a free port; its evidence is in a folder, and kept when a test says so."""
    log = await facts.log("ledger")
    evidence = Evidence(log, folder, SIGNER, 0.05, system_clock)
    wake = Wake(log)
    work.start(wake.run())
    people = People()
    address = f"127.0.0.1:{free_port()}"
    server = RpcServer(address, parties.service("ledger"), RULES, people.authenticate)
    server.add(
        add_LedgerServicer_to_server, LedgerService(log, wake, people.authenticate, evidence, HISTORIES), SERVICE
    )
    await server.start()
    connection = channel(address, parties.operator(), "ledger")
    try:
        yield Serving(LedgerStub(connection), people, facts, address, evidence)
    finally:
        await connection.close(None)
        await server.stop(None)
