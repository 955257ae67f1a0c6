"""What a stolen token issuer cannot do: one test for each line of the table in docs/security.md."""

from collections.abc import AsyncIterator

import pytest

from infra.local.system import System
from services.identity.events import Role
from tests.support.doors import FREDDIE, Doors
from tests.support.permissions import refused
from tests.support.stolen import Thief, stolen


@pytest.fixture
async def thief(system: System) -> AsyncIterator[Thief]:
    async with stolen(system, "token_issuer") as one:
        yield one


async def test_it_reads_no_password(thief: Thief) -> None:
    database, owner = await thief.database(), await thief.owner()
    assert await owner.fetchval("SELECT count(*) FROM identity.vault") > 0
    assert await refused(database, "SELECT * FROM identity.vault")
    facts = await thief.facts_of("identity")
    assert FREDDIE[1] not in facts
    assert "argon2" not in facts


async def test_it_reads_no_profile(thief: Thief, doors: Doors) -> None:
    """It hears of users; what is about a person is ciphertext, under keys that are wrapped for identity alone."""
    database, owner = await thief.database(), await thief.owner()
    for table in ("users", "personal_keys"):
        assert await refused(database, f"SELECT * FROM identity.{table}")  # noqa: S608  (a constant)
    profiles = await owner.fetch("SELECT user_name, given_name, family_name FROM identity.users")
    words = {value for row in profiles for value in row.values() if value and len(value) > 3} - set(Role)
    assert "freddie" in words
    facts = await thief.facts_of("identity")
    assert [word for word in words if word in facts] == []
    await thief.calls_nothing_of("identity", token=doors.honest.management)


async def test_it_registers_no_application(thief: Thief, doors: Doors) -> None:
    """Not even with a token of an administrator, which it could mint: its certificate is not an operator's."""
    await thief.appends_nothing_of("registry")
    await thief.changes_nothing_of("registry")
    await thief.calls_nothing_of("registry", token=doors.honest.management)
    await thief.publishes_nothing_to("stagedoor.events.registry.ApplicationRegistered")


async def test_it_does_not_change_the_past(thief: Thief) -> None:
    await thief.changes_nothing_of("log")
    await thief.appends_nothing_of("identity", "registry", "resource")
    await thief.publishes_nothing_to(
        "stagedoor.events.token_issuer.GrantOpened",
        "stagedoor.denials.key",
        "$JS.API.STREAM.PURGE.STAGEDOOR_EVENTS",
        "$JS.API.STREAM.MSG.DELETE.STAGEDOOR_EVENTS",
    )
