"""What a stolen ledger cannot do: one test for each line of the table in docs/security.md."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from infra.local.system import System
from infra.migrate import EVENTS, READS
from services.identity.events import Role
from shared.log.event import Catalogue
from stagedoor.validation.v1.validation_pb2 import ValidateRequest
from stagedoor.validation.v1.validation_pb2_grpc import ValidationStub
from tests.support.doors import Doors
from tests.support.permissions import refused
from tests.support.stolen import Thief, refusal, stolen


@pytest.fixture
async def thief(system: System) -> AsyncIterator[Thief]:
    async with stolen(system, "ledger") as one:
        yield one


OTHERS = [service for service in EVENTS if service != "ledger"]
"""All whose facts are not its own."""


async def test_it_appends_no_event_of_others(thief: Thief) -> None:
    """Its own, that somebody asked or something was archived, are all that it can add; nobody acts on them."""
    await thief.appends_nothing_of(*OTHERS)
    assert {event.denial_kinds for event in Catalogue.of(EVENTS["ledger"])} == {frozenset()}
    assert [service for service, sources in READS.items() if "ledger" in sources] == []


async def test_it_changes_no_event(thief: Thief) -> None:
    await thief.changes_nothing_of("log")


async def test_it_takes_no_event_away(thief: Thief) -> None:
    """But old ones that expire, of which the log says what was archived; the log itself looks at both."""
    database = await thief.database()
    for table in ("events", "events_lasting", "events_lasting_0", "events_expiring", "events_expiring_0", "pruned"):
        assert await refused(database, f"DROP TABLE log.{table}"), table
    for first in (0, 1, 2**24):
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await database.execute("SELECT log.prune($1, 1, '0 seconds')", first)


async def test_it_changes_nothing_of_what_the_services_know(thief: Thief) -> None:
    for schema in OTHERS:
        await thief.changes_nothing_of(schema)


async def test_it_reads_no_personal_data_and_no_secret(thief: Thief) -> None:
    """It reads every event; what is about a person is ciphertext there, and keys and passwords are in none."""
    database, owner = await thief.database(), await thief.owner()
    for vault in (
        "identity.vault",
        "identity.passkey_credentials",
        "identity.personal_keys",
        "token_issuer.vault",
        "identity.users",
        "registry.secrets",
    ):
        assert await refused(database, f"SELECT * FROM {vault}"), vault  # noqa: S608  (a constant)
    users = await owner.fetch("SELECT user_name FROM identity.users WHERE length(user_name) > 4")
    names = {row["user_name"] for row in users} - set(Role)
    everything = await thief.facts_of("registry", "identity", "token_issuer")
    assert len(names) > 1
    assert [name for name in names if name in everything] == []
    assert "argon2" not in everything


async def test_it_issues_no_token(thief: Thief, doors: Doors) -> None:
    await thief.calls_nothing_of("token_issuer", token=doors.honest.management)
    assert await refused(await thief.database(), "SELECT wrapped FROM token_issuer.vault")


async def test_it_validates_no_token(thief: Thief, doors: Doors) -> None:
    """But those for management, which it serves itself."""
    stub = ValidationStub(thief.channel("token_issuer"))
    for audience in (f"{doors.issuer}/connect/userinfo", f"{doors.origin}/api"):
        request = ValidateRequest(token=doors.honest.access_token, audience=audience)
        assert (await refusal(stub.Validate(request, timeout=10))).code == "audience_not_allowed"
