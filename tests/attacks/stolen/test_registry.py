"""What a stolen registry cannot do: one test for each line of the table in docs/security.md."""

from collections.abc import AsyncIterator

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.local.system import System
from tests.support.doors import Doors
from tests.support.permissions import refused
from tests.support.stolen import Thief, stolen


@pytest.fixture
async def thief(system: System) -> AsyncIterator[Thief]:
    async with stolen(system, "registry") as one:
        yield one


async def test_it_sees_no_user(thief: Thief, doors: Doors) -> None:
    await thief.reads_nothing_of("identity")
    await thief.calls_nothing_of("identity", token=doors.honest.management)


async def test_it_sees_no_token(thief: Thief, doors: Doors) -> None:
    await thief.reads_nothing_of("token_issuer")
    await thief.calls_nothing_of("token_issuer", "Tokens", token=doors.honest.management)
    await thief.calls_nothing_of("ledger", token=doors.honest.management)


async def test_it_sees_no_private_key(thief: Thief) -> None:
    """And should it see one nevertheless, then wrapped under a master key that it does not have."""
    assert await refused(await thief.database(), "SELECT wrapped FROM token_issuer.vault")
    kept = await (await thief.owner()).fetch("SELECT kid, wrapped FROM token_issuer.vault")
    assert kept
    for row in kept:
        own = AESGCM(thief.master_key().derive("signing-keys"))
        with pytest.raises(InvalidTag):
            own.decrypt(row["wrapped"][:12], row["wrapped"][12:], row["kid"].encode())


async def test_it_signs_nothing(thief: Thief) -> None:
    """It has nobody sign for it, and introduces no key of its own."""
    await thief.calls_nothing_of("token_issuer", "Authorization")
    await thief.appends_nothing_of("token_issuer")
    await thief.changes_nothing_of("token_issuer")


async def test_it_appends_no_events_of_others(thief: Thief) -> None:
    await thief.appends_nothing_of("identity", "token_issuer", "resource")
    await thief.publishes_nothing_to("stagedoor.events.identity.UserRegistered", "stagedoor.denials.client")
