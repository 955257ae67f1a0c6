"""What a stolen resource server of another team cannot do: one test for each line of the table in docs/security.md."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from infra.local.system import System
from infra.migrate import EVENTS
from stagedoor.validation.v1.validation_pb2 import ValidateRequest
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub
from tests.support.doors import Doors
from tests.support.stolen import Thief, refusal, stolen


@pytest.fixture
async def thief(system: System) -> AsyncIterator[Thief]:
    """The one that the demo lets ask about tokens for the API."""
    name = system.demo["validation_client"]["certificate"].rpartition("/resource-")[2].removesuffix(".pem")
    async with stolen(system, name, outside=True) as one:
        yield one


async def test_it_sees_no_events(thief: Thief, doors: Doors) -> None:
    for source in EVENTS:
        await thief.consumes_nothing_of(source)
    await thief.hears_nothing_on("stagedoor.events.>", ">", "$JS.>", "_INBOX_identity.>")
    await thief.publishes_nothing_to(
        "stagedoor.events.registry.ApplicationRegistered",
        "stagedoor.denials.token",
        "stagedoor.denials.heartbeat",
        "$JS.API.STREAM.MSG.GET.STAGEDOOR_EVENTS",
    )
    await thief.calls_nothing_of("ledger", token=doors.honest.management)
    with pytest.raises((asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)):
        await asyncpg.connect(thief.postgres.dsn("resource_server"), password="guessed")


async def test_it_asks_about_no_other_audience(thief: Thief, doors: Doors) -> None:
    stub = ValidationStub(thief.channel("token_issuer"))
    api = f"{doors.origin}/api"
    assert (await stub.Validate(ValidateRequest(token=doors.honest.access_token, audience=api), timeout=10)).allowed
    for audience in (f"{doors.issuer}/connect/userinfo", f"{doors.origin}/management", f"{api}/", f"{api}/tours", ""):
        for token in (doors.honest.access_token, doors.honest.management):
            told = await refusal(stub.Validate(ValidateRequest(token=token, audience=audience), timeout=10))
            assert told.code in ("audience_not_allowed", "audience_missing"), audience
    await thief.calls_nothing_of("token_issuer")


async def test_a_server_that_no_resource_names_asks_about_nothing(system: System, doors: Doors) -> None:
    async with stolen(system, "nobody", outside=True) as nobody:
        stub = ValidationStub(nobody.channel("token_issuer"))
        request = ValidateRequest(token=doors.honest.access_token, audience=f"{doors.origin}/api")
        assert (await refusal(stub.Validate(request, timeout=10))).code == "audience_not_allowed"
