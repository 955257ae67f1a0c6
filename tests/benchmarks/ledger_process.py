"""A ledger that keeps evidence, and proves, with nothing else to do: no relay, no feed; it takes one token.

    python -m tests.benchmarks.ledger_process DSN FOLDER HOST:PORT CERTIFICATES

The login's password is in `PGPASSWORD`.
"""

import os
import sys
from pathlib import Path

import uvloop

from infra.local.certificates import Authority
from protos.stagedoor.ledger.v1.ledger_pb2_grpc import add_LedgerServicer_to_server
from services.ledger import events
from services.ledger.main import HISTORIES
from services.ledger.rpc import RULES, SERVICE, LedgerService
from shared.clock import system_clock
from shared.errors import Kind, Refusal
from shared.evidence.checkpoints import Signer
from shared.evidence.keeping import Evidence
from shared.keys import MasterKey
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.rpc.caller import Person
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from shared.wake import Wake

TOKEN = "auditor"
SIGNER = Signer(MasterKey(b"k" * 32), "http://127.0.0.1/id")
SECONDS = 2.0
"""Between two checkpoints, as it is by default."""


async def _authenticate(token: str) -> Person:
    if token != TOKEN:
        raise Refusal(Kind.UNAUTHENTICATED, "invalid_token", "it takes one token")
    return Person(TOKEN, "com.stagedoor/cli", frozenset({"auditor"}), frozenset({"sec"}), "jti", 1)


async def main() -> None:
    """Serve until killed."""
    dsn, folder, address, certificates = sys.argv[1:]
    log = await Log.open(dsn, os.environ["PGPASSWORD"], Catalogue.of(events))
    evidence = Evidence(log, Path(folder), SIGNER, SECONDS, system_clock)
    authority = Authority(Path(certificates))
    shown = authority.service("ledger")
    tls = Tls.read_files(authority.certificate, shown.certificate, shown.key)
    server = RpcServer(address, tls, RULES, _authenticate)
    service = LedgerService(log, Wake(log), _authenticate, evidence, HISTORIES)
    server.add(add_LedgerServicer_to_server, service, SERVICE)
    await server.start()
    await evidence.keep()


if __name__ == "__main__":
    uvloop.run(main())
