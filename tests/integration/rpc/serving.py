"""A gRPC server of a test's own: the validation service's methods, with behaviour that the test gives."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from shared.rpc import caller
from shared.rpc.caller import Call, Rule
from shared.rpc.client import channel
from shared.rpc.guard import Authenticate
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from shared.telemetry import correlation
from stagedoor.validation.v1 import validation_pb2 as pb
from stagedoor.validation.v1 import validation_pb2_grpc as stubs
from tests.support.parties import Parties
from tests.support.ports import free_port

NAME = "stagedoor.validation.v1.Validation"
VALIDATE = f"/{NAME}/Validate"
BATCH = f"/{NAME}/ValidateBatch"
STREAM = f"/{NAME}/ValidateStream"
WATCH = f"/{NAME}/WatchDenials"
ANYBODY = Rule(frozenset({"*"}))
OPEN = dict.fromkeys((VALIDATE, BATCH, STREAM, WATCH), ANYBODY)


async def _nothing(_: pb.ValidateRequest) -> None:
    return


@dataclass
class Servicer(stubs.ValidationServicer):
    """Answers with what it saw of the call."""

    behave: Callable[[pb.ValidateRequest], Awaitable[None]] = _nothing
    calls: list[Call] = field(default_factory=list)
    correlations: list[str] = field(default_factory=list)
    requests: int = 0
    watching: asyncio.Event = field(default_factory=asyncio.Event)

    def _seen(self) -> None:
        self.requests += 1
        self.calls.append(caller.current.get())
        self.correlations.append(correlation.get())

    async def Validate(self, request: pb.ValidateRequest, context: Any) -> pb.ValidateResponse:  # noqa: ARG002, N802
        self._seen()
        await self.behave(request)
        return pb.ValidateResponse(allowed=True, reason=self.calls[-1].caller.name)

    async def ValidateBatch(  # noqa: N802
        self,
        request: pb.ValidateBatchRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ValidateBatchResponse:
        self._seen()
        return pb.ValidateBatchResponse(responses=[pb.ValidateResponse(allowed=True) for _ in request.requests])

    async def ValidateStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.ValidateBatchRequest],
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[pb.ValidateBatchResponse]:
        self._seen()
        async for batch in request_iterator:
            for request in batch.requests:
                await self.behave(request)
            yield pb.ValidateBatchResponse(responses=[pb.ValidateResponse(allowed=True) for _ in batch.requests])

    async def WatchDenials(  # noqa: N802
        self,
        request: pb.WatchDenialsRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[pb.WatchDenialsResponse]:
        self._seen()
        yield pb.WatchDenialsResponse(heartbeat=pb.Heartbeat(position=1))
        self.watching.set()
        await asyncio.Event().wait()


@dataclass
class Running:
    """A server under test."""

    server: RpcServer
    servicer: Servicer
    address: str

    @asynccontextmanager
    async def connected(self, tls: Tls, name: str = "token_issuer") -> AsyncIterator[Any]:
        """A stub over a channel of ours."""
        connection = channel(self.address, tls, name)
        try:
            yield stubs.ValidationStub(connection)
        finally:
            await connection.close(None)


@asynccontextmanager
async def serving(
    parties: Parties,
    rules: Mapping[str, Rule],
    *,
    authenticate: Authenticate | None = None,
    servicer: Servicer | None = None,
    tls: Tls | None = None,
    **bounds: Any,
) -> AsyncIterator[Running]:
    """A running server, which shows the certificate of the token issuer unless told otherwise."""
    answering = servicer or Servicer()
    address = f"127.0.0.1:{free_port()}"
    server = RpcServer(address, tls or parties.service("token_issuer"), rules, authenticate, **bounds)
    server.add(stubs.add_ValidationServicer_to_server, answering, NAME)
    await server.start()
    try:
        yield Running(server, answering, address)
    finally:
        await server.stop(None)


async def refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call was answered")


async def first(stream: AsyncIterable[Any]) -> Any:
    """The first answer of a stream."""
    return await anext(aiter(stream))
