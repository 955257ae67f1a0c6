"""Tokens whose header brings a key along, points to one, or asks for special treatment (RFC 8725 section 3.10)."""

import pytest

from stagedoor.verdict import Allowed, Denied, Reason, Verdict
from tests.support.sdk_tokens import SigningKey, claims, guard


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


@pytest.mark.parametrize(
    "kid",
    ["../../../../dev/null", "key-1' OR '1'='1", "key-1\x00", "KEY-1", " key-1", "https://evil.example/jwks", "", "é"],
)
def test_a_key_id_is_a_name_and_nothing_else(key: SigningKey, kid: str) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"kid": kid}))) is Reason.UNKNOWN_KEY


@pytest.mark.parametrize("kid", [1, True, ["key-1"], {"key-1": 1}, 1.5])
def test_a_key_id_is_text(key: SigningKey, kid: object) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"kid": kid}))) is Reason.MALFORMED


def test_a_token_without_a_key_id(key: SigningKey) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"kid": None}))) is Reason.MALFORMED


def test_a_key_in_the_header_is_not_used(key: SigningKey) -> None:
    thief = SigningKey("thief")
    for extra in (
        {"jwk": thief.jwk},
        {"jwk": thief.jwk, "kid": key.kid},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": ["MIIB"]},
    ):
        assert isinstance(guard(key).check(thief.sign(claims(), extra)), Denied)
        # Even the issuer's own signature does not make such a header acceptable.
        assert isinstance(guard(key).check(key.sign(claims(), extra)), Denied)


@pytest.mark.parametrize("extra", [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}])
def test_critical_extensions_are_refused(key: SigningKey, extra: dict[str, object]) -> None:
    assert reason(guard(key).check(key.sign(claims(), extra))) is Reason.MALFORMED


@pytest.mark.parametrize("kind", ["JWT", "jwt", "logout+jwt", "dpop+jwt", "AT+JWT", "at+jwt ", 1, ["at+jwt"]])
def test_an_id_token_is_not_an_access_token(key: SigningKey, kind: object) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"typ": kind}))) is Reason.WRONG_TYPE


def test_a_token_that_does_not_say_what_it_is(key: SigningKey) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"typ": None}))) is Reason.WRONG_TYPE
    assert isinstance(guard(key).check(key.sign(claims())), Allowed)
