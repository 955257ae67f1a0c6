from collections.abc import AsyncIterator

import pytest

from shared.log.log import Log
from tests.support.postgres import Database, Databases
from tests.support.theatre import ALL, DOOR, OFFICE, TENANTS


@pytest.fixture
async def theatre(databases: Databases) -> AsyncIterator[Database]:
    async with databases.fresh(TENANTS) as fresh:
        yield fresh


@pytest.fixture
async def office(theatre: Database) -> Log:
    return await theatre.log("office", OFFICE)


@pytest.fixture
async def door(theatre: Database) -> Log:
    return await theatre.log("door", DOOR)


@pytest.fixture
async def watch(theatre: Database) -> Log:
    return await theatre.log("watch", ALL)
