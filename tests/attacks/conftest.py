"""What the attacks are made on."""

from collections.abc import AsyncIterator

import pytest

from infra.local.system import System
from stagedoor.keys import Algorithm
from tests.support.doors import Doors, opened
from tests.support.issuing import believing as believing  # noqa: PLC0414  (a fixture)
from tests.support.issuing import patience as patience  # noqa: PLC0414  (a fixture)
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


@pytest.fixture
async def doors(system: System) -> AsyncIterator[Doors]:
    """Wherever a running system takes tokens."""
    async with opened(system) as open_ones:
        yield open_ones
