"""The yardstick for validation over gRPC: the same messages, the same mutual TLS, and nothing else.

    python -m tests.benchmarks.bare_rpc PORT CA CERTIFICATE KEY

Empty handlers on grpc.aio and uvloop: a request is parsed, and a verdict that was made beforehand is serialized. They
look at no token, no caller and no clock.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import uvloop

from shared.rpc.tls import Tls
from stagedoor.validation.v1 import validation_pb2 as pb
from stagedoor.validation.v1.validation_pb2_grpc import ValidationServicer, add_ValidationServicer_to_server

BATCH = 64
_VERDICT = pb.ValidateResponse(allowed=True, position=2_000, lag_ms=400)
_VERDICTS = pb.ValidateBatchResponse(responses=[_VERDICT] * BATCH)


class Empty(ValidationServicer):
    """Answers, whatever it is asked."""

    async def Validate(self, _: pb.ValidateRequest, __: Any) -> pb.ValidateResponse:  # noqa: N802  (gRPC's name)
        return _VERDICT

    async def ValidateBatch(  # noqa: N802  (as above)
        self, _: pb.ValidateBatchRequest, __: Any
    ) -> pb.ValidateBatchResponse:
        return _VERDICTS

    async def ValidateStream(  # noqa: N802  (as above)
        self, requests: AsyncIterator[pb.ValidateBatchRequest], _: Any
    ) -> AsyncIterator[pb.ValidateBatchResponse]:
        async for _request in requests:
            yield _VERDICTS

    async def WatchDenials(  # noqa: N802  (as above)
        self, _: pb.WatchDenialsRequest, __: Any
    ) -> AsyncIterator[pb.WatchDenialsResponse]:
        yield pb.WatchDenialsResponse(heartbeat=pb.Heartbeat())


async def main() -> None:
    """Serve until told to stop."""
    port, *files = sys.argv[1:]
    server = grpc.aio.server()
    add_ValidationServicer_to_server(Empty(), server)
    server.add_secure_port(f"127.0.0.1:{port}", Tls.read_files(*map(Path, files)).server_credentials())
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
