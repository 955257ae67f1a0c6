"""What a stolen resource service cannot do: one test for each line of the table in docs/security.md."""

from collections.abc import AsyncIterator

import pytest

from infra.local.system import System
from stagedoor.validation.v1.validation_pb2 import ValidateRequest
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub
from tests.support.doors import API, INTROSPECTION, REFUSED, VALIDATE, Doors
from tests.support.stolen import Thief, refusal, stolen


@pytest.fixture
async def thief(system: System) -> AsyncIterator[Thief]:
    async with stolen(system, "resource") as one:
        yield one


async def test_a_token_that_was_shown_to_it_opens_nothing_else(thief: Thief, doors: Doors) -> None:
    """What says nothing of userinfo or management is good for nothing there, and for no better token either."""
    answer = await doors.http.post(
        f"{doors.issuer}/connect/token", data={"grant_type": "client_credentials"}, auth=doors.secret()
    )
    shown = answer.json()["access_token"]
    assert await doors.answers(shown) == {**REFUSED, API: "200", INTROSPECTION: "active", VALIDATE: "allowed"}
    for form in (
        {"grant_type": "refresh_token", "refresh_token": shown},
        {"grant_type": "authorization_code", "code": shown},
        {"grant_type": "client_credentials", "client_assertion": shown},
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": shown,
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        },
    ):
        answer = await doors.http.post(
            f"{doors.issuer}/connect/token", data={**form, "client_id": "com.backstagehub/app"}
        )
        assert answer.status_code in (400, 401)
    await thief.calls_nothing_of("registry", token=shown)
    await thief.calls_nothing_of("identity", token=shown)


async def test_it_appends_no_events_of_others(thief: Thief) -> None:
    await thief.appends_nothing_of("registry", "identity", "token_issuer")
    await thief.changes_nothing_of("log")
    await thief.publishes_nothing_to("stagedoor.events.resource.DataRead", "stagedoor.denials.subject")


async def test_it_learns_of_no_other_tokens(thief: Thief, doors: Doors) -> None:
    for schema in ("token_issuer", "identity", "registry"):
        await thief.reads_nothing_of(schema)
    await thief.calls_nothing_of("token_issuer")
    await thief.calls_nothing_of("ledger")
    stub = ValidationStub(thief.channel("token_issuer"))
    for audience in (f"{doors.issuer}/connect/userinfo", f"{doors.origin}/management", "https://elsewhere.example"):
        for token in (doors.honest.access_token, doors.honest.management):
            told = await refusal(stub.Validate(ValidateRequest(token=token, audience=audience), timeout=10))
            assert told.code == "audience_not_allowed"
    answer = await stub.Validate(ValidateRequest(token=doors.honest.management, audience=f"{doors.origin}/api"))
    assert not answer.allowed
    assert not answer.claims
