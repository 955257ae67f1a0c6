"""What the attacks are made on."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from infra.local.system import System
from stagedoor.keys import Algorithm
from tests.support.doors import Doors, Honest, opened
from tests.support.issuing import stage as stage  # noqa: PLC0414  (a fixture)
from tests.support.sdk_tokens import SigningKey


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """The key of an issuer whose tokens a guard accepts."""
    return SigningKey()


@pytest.fixture(scope="session")
def rsa_key() -> SigningKey:
    """Another one, for RS256."""
    return SigningKey("key-rsa", Algorithm.RS256)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def honest(system: System) -> Honest:
    """Tokens that a running system accepts."""
    async with opened(system) as doors:
        return doors.honest


@pytest.fixture
async def doors(system: System, honest: Honest) -> AsyncIterator[Doors]:
    """Wherever that system takes tokens."""
    async with opened(system, honest) as open_ones:
        yield open_ones
