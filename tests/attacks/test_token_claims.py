"""Well-signed tokens that say the wrong thing, or not enough (RFC 8725 sections 3.8 to 3.12, RFC 9068 section 4)."""

import time
from typing import Any

import pytest

from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, Snapshot
from stagedoor.verdict import Allowed, Denied, Reason, Verdict
from tests.support.sdk_tokens import AUDIENCE, ISSUER, SigningKey, claims, guard


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


@pytest.mark.parametrize("issuer", [f"{ISSUER}/", ISSUER.upper(), "https://evil.example", f"{ISSUER}@evil.example", ""])
def test_a_foreign_issuer(key: SigningKey, issuer: str) -> None:
    assert reason(guard(key).check(key.sign(claims(iss=issuer)))) is Reason.WRONG_ISSUER


@pytest.mark.parametrize("audience", [["https://other.example"], [f"{AUDIENCE}/"], [AUDIENCE[:-1]], []])
def test_a_foreign_audience(key: SigningKey, audience: list[str]) -> None:
    assert reason(guard(key).check(key.sign(claims(aud=audience)))) is Reason.WRONG_AUDIENCE


def test_a_remembered_token_is_not_good_for_another_audience(key: SigningKey) -> None:
    checked, token = guard(key), key.sign(claims())
    assert isinstance(checked.check(token), Allowed)
    assert reason(checked.check(token, audience="https://other.example")) is Reason.WRONG_AUDIENCE
    assert isinstance(checked.check(token), Allowed)


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
        {"act": "com.first/app"},
        {"act": {}},
        {"act": {"client_id": 1}},
        {"act": {"client_id": "com.first/app", "act": "com.second/app"}},
    ],
)
def test_claims_of_the_wrong_type(key: SigningKey, wrong: dict[str, Any]) -> None:
    assert reason(guard(key).check(key.sign(claims(**wrong)))) is Reason.MALFORMED


def test_a_bound_token_without_its_proof(key: SigningKey) -> None:
    assert reason(guard(key).check(key.sign(claims(cnf={"jkt": "x"})))) is Reason.PROOF_REQUIRED


def test_a_forged_position_does_not_outrun_a_stolen_key(key: SigningKey) -> None:
    stolen = Denial(number=1, position=500, epoch=1, kind=DenialKind.KEY, id=key.kid, rule=DenialRule.STANDING)
    for pos in (1, 499, 501, 1000, 10**15):
        assert reason(guard(key, stolen).check(key.sign(claims(pos=pos)))) is Reason.DENIED_KEY


def test_a_position_past_what_is_known_is_not_taken_for_new(key: SigningKey) -> None:
    cut_off = Denial(
        number=1, position=500, epoch=1, kind=DenialKind.CLIENT, id="com.backstagehub/app", rule=DenialRule.CUT_OFF
    )
    checked = guard(key, cut_off)
    assert reason(checked.check(key.sign(claims(pos=10**15)))) is Reason.AHEAD_OF_VIEW
    assert reason(checked.check(key.sign(claims(pos=2**80)))) is Reason.MALFORMED


def test_a_token_of_a_lost_branch(key: SigningKey) -> None:
    checked = guard(key)
    token = key.sign(claims(pos=900))
    assert isinstance(checked.check(token), Allowed)
    restored = Snapshot(position=900, number=0, epoch=2, denials=(), epochs=((1, 1), (2, 850)))
    checked.view.replace(restored, since_boot())
    assert reason(checked.check(token)) is Reason.LOST_BRANCH
