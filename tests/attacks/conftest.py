"""What the attacks are made on."""

import pytest

from stagedoor.keys import Algorithm
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
