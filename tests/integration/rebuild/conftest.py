"""What these tests share: an office that writes, and a door that follows it."""

from collections.abc import AsyncIterator

import pytest

from shared.log.log import Log
from tests.support.postgres import Database, Databases
from tests.support.theatre import DOOR, OFFICE, TENANTS


@pytest.fixture
async def theatre(databases: Databases) -> AsyncIterator[Database]:
    """A database whose tables may be swapped, and which is not used again."""
    async with databases.fresh(TENANTS) as fresh:
        fresh.spoiled = True
        yield fresh


@pytest.fixture
async def office(theatre: Database) -> Log:
    return await theatre.log("office", OFFICE)


@pytest.fixture
async def door(theatre: Database) -> Log:
    return await theatre.log("door", DOOR)
