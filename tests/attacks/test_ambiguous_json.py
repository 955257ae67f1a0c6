"""Tokens that two readers would read differently (RFC 8725 section 2.6)."""

import json

import pytest

from stagedoor.verdict import Allowed, Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import SigningKey, claims, guard

_KEY = SigningKey()
_HEADER = json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": "key-1"}).encode()


@pytest.mark.parametrize("name", ["sub", "aud", "exp", "client_id", "pos", "scope", "unheard_of"])
def test_a_claim_that_is_said_twice(name: str) -> None:
    once = json.dumps(claims(unheard_of=1))
    twice = once[:-1] + f', "{name}": {json.dumps(claims(unheard_of=1)[name])}' + "}"
    assert isinstance(guard(_KEY).check(_KEY.sign_raw(_HEADER, once.encode())), Allowed)
    assert reason(guard(_KEY).check(_KEY.sign_raw(_HEADER, twice.encode()))) is Reason.MALFORMED


def test_a_claim_that_is_said_twice_in_another_spelling() -> None:
    twice = json.dumps(claims())[:-1] + ', "\\u0073ub": "sub-brian"}'
    assert reason(guard(_KEY).check(_KEY.sign_raw(_HEADER, twice.encode()))) is Reason.MALFORMED


def test_a_claim_that_is_said_twice_deep_inside() -> None:
    twice = json.dumps(claims())[:-1] + ', "act": {"client_id": "com.a/b", "client_id": "com.c/d"}}'
    assert reason(guard(_KEY).check(_KEY.sign_raw(_HEADER, twice.encode()))) is Reason.MALFORMED


def test_a_header_member_that_is_said_twice() -> None:
    header = b'{"alg": "none", "typ": "at+jwt", "kid": "key-1", "alg": "ES256"}'
    assert reason(guard(_KEY).check(_KEY.sign_raw(header, json.dumps(claims()).encode()))) is Reason.MALFORMED


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{",
        b"{}{}",
        b"{} trailing",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b"{'a': 1}",
        b'{"a": 1,}',
        b"{/* */}",
        b'{"a": "\xff"}',
        json.dumps(claims()).encode("utf-16"),
        json.dumps(claims()).encode() + b"\x00",
        json.dumps(claims(sub="\ud800")).encode(),
        b'{"exp": ' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 2900 + b"]" * 2900 + b"}",
        b'{"a":' * 1100 + b"1" + b"}" * 1100,
    ],
)
def test_what_is_not_json(payload: bytes) -> None:
    assert reason(guard(_KEY).check(_KEY.sign_raw(_HEADER, payload))) is Reason.MALFORMED
