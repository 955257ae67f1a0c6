"""What a stolen console cannot do: one test for each line of the table in docs/security.md."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from infra.local.nats import USERS
from infra.local.system import System
from protos.stagedoor.registry.v1.registry_pb2 import DESCRIPTOR as REGISTRY
from protos.stagedoor.tokens.v1.tokens_pb2 import DESCRIPTOR as TOKENS
from stagedoor.validation.v1.validation_pb2 import ValidateRequest
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub
from tests.support.doors import Doors
from tests.support.stolen import Thief, refusal, stolen


@pytest.fixture
async def thief(system: System) -> AsyncIterator[Thief]:
    async with stolen(system, "console") as one:
        yield one


async def test_it_has_no_way_into_the_database_or_nats(thief: Thief) -> None:
    assert "console" not in USERS
    with pytest.raises((asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)):
        await asyncpg.connect(thief.postgres.dsn("console"), password="guessed")


async def test_without_the_token_of_an_administrator_it_does_nothing(thief: Thief, doors: Doors) -> None:
    services = {"registry": REGISTRY.services_by_name["Registry"], "token_issuer": TOKENS.services_by_name["Tokens"]}
    for name, service in services.items():
        opened = thief.channel(name)
        for method in service.methods:
            for token in ("", doors.honest.access_token):
                metadata = (("authorization", f"Bearer {token}"),) if token else ()
                path = f"/{service.full_name}/{method.name}"
                call = opened.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
                told = await refusal(call(b"", metadata=metadata, timeout=10, wait_for_ready=True))
                assert told.code in {"missing_token", "wrong_audience", "caller_not_allowed", "malformed"}, path


async def test_with_one_it_makes_nobody_the_first_administrator_and_no_reference_token(
    thief: Thief, doors: Doors
) -> None:
    metadata = (("authorization", f"Bearer {doors.honest.management}"),)
    for service, path in (
        ("identity", "/stagedoor.identity.v1.Identity/Bootstrap"),
        ("token_issuer", "/stagedoor.tokens.v1.Tokens/IssueReference"),
        ("registry", "/stagedoor.registry.v1.Registration/IssueInitialAccessToken"),
        ("ledger", "/stagedoor.ledger.v1.Ledger/GetCheckpoint"),
    ):
        call = thief.channel(service).unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        told = await refusal(call(b"", metadata=metadata, timeout=10, wait_for_ready=True))
        assert told.code == "caller_not_allowed", path
    await thief.calls_nothing_of("token_issuer", "Authorization", token=doors.honest.management)


async def test_it_asks_about_no_audience_that_does_not_name_it(thief: Thief, doors: Doors) -> None:
    stub = ValidationStub(thief.channel("token_issuer"))
    for audience in (f"{doors.issuer}/connect/userinfo", f"{doors.origin}/management"):
        request = ValidateRequest(token=doors.honest.management, audience=audience)
        assert (await refusal(stub.Validate(request, timeout=10))).code == "audience_not_allowed", audience
