"""How a server begins and ends, and what it says about itself."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from shared.errors import Unavailable
from shared.rpc.client import channel, translate
from shared.rpc.server import RpcServer
from stagedoor.validation.v1 import validation_pb2 as pb
from tests.integration.rpc.serving import NAME, OPEN, Servicer, refused, serving
from tests.support.parties import Parties

ASK = pb.ValidateRequest(token="t")
SERVING = health_pb2.HealthCheckResponse.SERVING


async def test_health_is_served_to_every_party_of_the_instance(parties: Parties) -> None:
    async with (
        serving(parties, OPEN) as running,
        channel(running.address, parties.resource("stagehands"), "token_issuer") as connection,
    ):
        stub: Any = health_pb2_grpc.HealthStub(connection)
        for service in ("", NAME):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING
        error = await refused(stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service")))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        watch = aiter(stub.Watch(health_pb2.HealthCheckRequest(service=NAME)))
        assert (await anext(watch)).status == SERVING


async def test_reflection_names_the_services(parties: Parties) -> None:
    async with (
        serving(parties, OPEN) as running,
        channel(running.address, parties.operator(), "token_issuer") as connection,
    ):
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(connection)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAME),
        ]
        answers = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
        assert NAME in {service.name for service in answers[0].list_services_response.service}
        assert answers[1].file_descriptor_response.file_descriptor_proto


async def test_a_port_that_is_taken_is_one_line_and_the_end(parties: Parties) -> None:
    async with serving(parties, OPEN) as running:
        second = RpcServer(running.address, parties.service("token_issuer"), {})
        with pytest.raises(SystemExit, match=rf"^stagedoor: gRPC cannot listen on {running.address}"):
            await second.start()


async def test_a_stopping_server_tells_those_who_stream_to_connect_again(parties: Parties) -> None:
    """And is not held up by them."""
    async with serving(parties, OPEN) as running, running.connected(parties.operator()) as validation:
        answers = aiter(validation.WatchDenials(pb.WatchDenialsRequest()))
        assert (await anext(answers)).heartbeat.position == 1
        await running.servicer.watching.wait()
        async with asyncio.timeout(5):
            await running.server.stop(20)
        arrived = translate(await refused(anext(answers)))
        assert isinstance(arrived, Unavailable)
        assert arrived.code == "shutting_down"


async def test_a_stopping_server_finishes_what_is_under_way_and_takes_nothing_new(parties: Parties) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold(_: pb.ValidateRequest) -> None:
        entered.set()
        await leave.wait()

    async with (
        serving(parties, OPEN, servicer=Servicer(hold)) as running,
        running.connected(parties.operator()) as validation,
    ):
        held = asyncio.ensure_future(validation.Validate(ASK))
        await entered.wait()
        stopping = asyncio.ensure_future(running.server.stop(20))
        async with running.connected(parties.operator()) as late:
            async with asyncio.timeout(5):
                while not stopping.done():
                    # The listener closes with the stop; until then a call would wait behind the one under way.
                    error = await refused(late.Validate(ASK, timeout=0.2))
                    if error.code() is grpc.StatusCode.UNAVAILABLE:
                        break
        leave.set()
        assert (await held).allowed
        await stopping
        assert running.servicer.requests == 1


async def test_stopping_twice_and_before_starting_is_fine(parties: Parties) -> None:
    server = RpcServer("127.0.0.1:0", parties.operator(), {})
    await server.stop(None)
    async with serving(parties, OPEN) as running:
        await running.server.stop(1)
        await running.server.stop(None)
