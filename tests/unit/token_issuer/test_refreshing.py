"""Refresh tokens follow from one another, for whoever has the issuer's key, and for nobody else."""

import pytest

from services.token_issuer.refreshing import (
    RefreshTokens,
    grant_of_code,
    grant_of_refresh_token,
    new_code,
)
from shared.ids import digest, new_id, new_secret
from shared.keys import MasterKey

TOKENS = RefreshTokens(MasterKey(b"m" * 32))
GID = new_id()


def test_every_replica_finds_the_same_successor() -> None:
    token = TOKENS.first(GID)
    successor = TOKENS.successor(token)
    assert successor == RefreshTokens(MasterKey(b"m" * 32)).successor(token)
    assert successor != RefreshTokens(MasterKey(b"x" * 32)).successor(token)
    assert successor != token
    assert grant_of_refresh_token(successor) == GID


def test_an_old_one_is_recognised_and_an_invented_one_is_not() -> None:
    chain = [TOKENS.first(GID)]
    for _ in range(20):
        chain.append(TOKENS.successor(chain[-1]))
    current = digest(chain[-1])
    assert TOKENS.leads_to(chain[0], current, 20)
    assert TOKENS.leads_to(chain[-2], current, 20)
    assert not TOKENS.leads_to(chain[0], current, 19)
    assert not TOKENS.leads_to(chain[-1], current, 20)
    assert not TOKENS.leads_to(f"sdr_{GID}.{new_secret()}", current, 20)


def test_codes_and_refresh_tokens_are_told_apart() -> None:
    code, token = new_code(GID), TOKENS.first(GID)
    assert grant_of_code(code) == GID
    assert grant_of_refresh_token(code) is None
    assert grant_of_code(token) is None


@pytest.mark.parametrize(
    "text", ["", "sdc_", "sdc_x.y", "sdc_" + "a" * 22 + "." + "b" * 42, "sdc_" + "a" * 22 + "." + "b" * 44, "\n"]
)
def test_what_is_no_code(text: str) -> None:
    assert grant_of_code(text) is None
    assert grant_of_code(new_code(GID) + "\n") is None
    assert grant_of_code(" " + new_code(GID)) is None
