"""Well-signed tokens that say nonsense, or not enough (RFC 9068 section 4)."""

import time
from typing import Any

import pytest

from stagedoor.verdict import Allowed, Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import AUDIENCE, CHAIN, EXCHANGED, SigningKey, claims, guard


def test_an_expired_token(key: SigningKey) -> None:
    now = int(time.time())
    assert reason(guard(key).check(key.sign(claims(exp=now - 6)))) is Reason.EXPIRED
    assert reason(guard(key).check(key.sign(claims(exp=0)))) is Reason.EXPIRED
    assert isinstance(guard(key).check(key.sign(claims(exp=now - 1))), Allowed)  # within the leeway


def test_a_token_from_the_future(key: SigningKey) -> None:
    now = int(time.time())
    assert reason(guard(key).check(key.sign(claims(nbf=now + 60)))) is Reason.NOT_YET_VALID


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti", "pos", "epoch"])
def test_nothing_that_matters_may_be_missing(key: SigningKey, name: str) -> None:
    assert reason(guard(key).check(key.sign(claims(**{name: None})))) is Reason.MALFORMED


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": "9999999999"},
        {"exp": 1e30},
        {"exp": True},
        {"exp": 10**400},
        {"exp": 2**53},
        {"exp": -1},
        {"nbf": "0"},
        {"pos": "100"},
        {"pos": 0},
        {"pos": -1},
        {"pos": 1.5},
        {"epoch": 0},
        {"epoch": "1"},
        {"aud": AUDIENCE},
        {"aud": {AUDIENCE: 1}},
        {"aud": [AUDIENCE, 1]},
        {"scope": ["read"]},
        {"sub": ""},
        {"sub": 1},
        {"jti": ""},
        {"client_id": ""},
        {"client_id": ["com.backstagehub/app"]},
        {"roles": "administrator"},
        {"gid": 1},
        {"sid": ["sid-1"]},
    ],
)
def test_claims_of_the_wrong_type(key: SigningKey, wrong: dict[str, Any]) -> None:
    assert reason(guard(key).check(key.sign(claims(**wrong)))) is Reason.MALFORMED


@pytest.mark.parametrize(
    "wrong",
    [
        {"act": None},
        {"act": "com.tourbus/api"},
        {"act": ["com.tourbus/api"]},
        {"act": {}},
        {"act": {"client_id": 1}},
        {"act": {"client_id": ""}},
        {"act": {"sub": CHAIN[0]}},
        {"act": {"client_id": CHAIN[1]}},
        {"act": {"client_id": CHAIN[0], "act": CHAIN[1]}},
        {"act": {"client_id": CHAIN[0], "act": [{"client_id": CHAIN[1]}]}},
        {"act": {"client_id": CHAIN[0], "act": {}}},
        {"act": {"client_id": CHAIN[0], "act": {"client_id": ["com.setlist/app"]}}},
        {"derived_from": None},
        {"derived_from": []},
        {"derived_from": "jti-0"},
        {"derived_from": [1]},
        {"derived_from": [""]},
        {"derived_from": ["jti-0", ""]},
        {"derived_from": {"jti-0": True}},
    ],
)
def test_a_chain_that_does_not_say_what_to_match(key: SigningKey, wrong: dict[str, Any]) -> None:
    """What nobody can match denials by is not accepted as if there were none."""
    assert isinstance(guard(key).check(key.sign(claims(**EXCHANGED))), Allowed)
    assert reason(guard(key).check(key.sign(claims(**{**EXCHANGED, **wrong})))) is Reason.MALFORMED


def test_a_bound_token_without_its_proof(key: SigningKey) -> None:
    assert reason(guard(key).check(key.sign(claims(cnf={"jkt": "x"})))) is Reason.PROOF_REQUIRED
