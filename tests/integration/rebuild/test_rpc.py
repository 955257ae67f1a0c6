"""Administrators rebuild and compare over gRPC; nobody else does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from protos.stagedoor.readmodels.v1 import readmodels_pb2 as pb
from protos.stagedoor.readmodels.v1.readmodels_pb2_grpc import ReadModelsStub, add_ReadModelsServicer_to_server
from shared.log.log import Log
from shared.rebuild.projection import Projection
from shared.rebuild.rpc import RULES, SERVICE, ReadModelsService, up_to_date
from shared.rpc.client import channel
from shared.rpc.server import RpcServer
from shared.rpc.tls import Tls
from tests.integration.ledger.serving import People
from tests.support.parties import Parties
from tests.support.parties import parties as parties  # noqa: PLC0414  (a fixture)
from tests.support.ports import free_port
from tests.support.postgres import Database
from tests.support.theatre import TICKETS, sell

BRIAN = (("authorization", "Bearer brian"),)


@asynccontextmanager
async def serving(office: Log, parties: Parties, as_: Tls) -> AsyncIterator[Any]:
    """A client of the service."""
    address = f"127.0.0.1:{free_port()}"
    server = RpcServer(address, parties.service("registry"), RULES, People().authenticate)
    server.add(add_ReadModelsServicer_to_server, ReadModelsService(office, (TICKETS,)), SERVICE)
    await server.start()
    connection = channel(address, as_, "registry")
    try:
        yield ReadModelsStub(connection)
    finally:
        await connection.close(None)
        await server.stop(None)


async def told(call: Any) -> list[Any]:
    return [message async for message in call]


async def test_an_administrator_lists_compares_and_rebuilds(theatre: Database, office: Log, parties: Parties) -> None:
    position = await sell(office, "a")
    async with serving(office, parties, parties.operator()) as stub:
        (listed,) = (await stub.ListReadModels(pb.ListReadModelsRequest(), metadata=BRIAN)).read_models
        assert (listed.projection, list(listed.tables)) == ("own", ["tickets", "stubs"])
        assert (listed.version, listed.live_version) == (1, 1)
        *_, last = await told(stub.Compare(pb.CompareRequest(), metadata=BRIAN))
        assert (last.compared.projection, last.compared.position) == ("own", position)
        assert not last.compared.differences
        async with theatre.connection() as operator:
            await operator.execute("UPDATE office.tickets SET seat = 99")
        *_, last = await told(stub.Compare(pb.CompareRequest(projections=["own"]), metadata=BRIAN))
        (found,) = last.compared.differences
        assert (found.table, dict(found.key), found.what) == ("tickets", {"id": "a"}, "seat")
        *earlier, last = await told(stub.Rebuild(pb.RebuildRequest(), metadata=BRIAN))
        assert earlier
        assert not any(message.live for message in earlier)
        assert last.live
        assert last.progress.position == position
        *_, last = await told(stub.Compare(pb.CompareRequest(), metadata=BRIAN))
        assert not last.compared.differences


async def test_a_projection_that_is_not_there(office: Log, parties: Parties) -> None:
    async with serving(office, parties, parties.operator()) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await told(stub.Rebuild(pb.RebuildRequest(projections=["vault"]), metadata=BRIAN))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("token", ["auditor", "freddie", "nobody", None])
@pytest.mark.parametrize("method", ["Rebuild", "Compare"])
async def test_nobody_but_an_administrator(office: Log, parties: Parties, token: str | None, method: str) -> None:
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    async with serving(office, parties, parties.operator()) as stub:
        request = pb.RebuildRequest() if method == "Rebuild" else pb.CompareRequest()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await told(getattr(stub, method)(request, metadata=metadata))
        assert refused.value.code() in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}
    assert await office.checkpoints("own__next") == {}


async def test_no_service_may(office: Log, parties: Parties) -> None:
    async with serving(office, parties, parties.service("resource")) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await told(stub.Rebuild(pb.RebuildRequest(), metadata=BRIAN))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_readiness_names_what_is_out_of_date(office: Log) -> None:
    assert (await up_to_date(office, (TICKETS,))).detail == ""
    newer = Projection("own", ("office",), TICKETS.project, TICKETS.tables, version=2)
    check = await up_to_date(office, (newer,))
    assert check.ok
    assert "own" in check.detail
