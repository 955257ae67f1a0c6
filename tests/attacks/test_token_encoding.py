"""Tokens that two readers would read differently, or that are meant to wear a reader out."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.token import MAXIMUM_BYTES
from stagedoor.verdict import Allowed, Denied, Reason, Verdict
from tests.support.sdk_tokens import AUDIENCE, ISSUER, SigningKey, b64, claims, guard

_KEY = SigningKey()
_HEADER = json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": "key-1"}).encode()


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


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


def test_a_long_act_chain() -> None:
    chain: dict[str, object] = {"client_id": "com.last/app"}
    for number in range(60):
        chain = {"client_id": f"com.chain/{number}", "act": chain}
    assert reason(guard(_KEY).check(_KEY.sign(claims(act=chain)))) is Reason.MALFORMED


def test_an_oversize_token_is_not_read() -> None:
    token = _KEY.sign(claims(filling="x" * MAXIMUM_BYTES))
    assert reason(guard(_KEY).check(token)) is Reason.MALFORMED
    assert reason(guard(_KEY).check("x" * 50_000_000)) is Reason.MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "=",
        lambda token: token.replace(".", "=.", 1),
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token.replace(".", ". ", 1),
        lambda token: token + ".",
        lambda token: "." + token,
        lambda token: token + ".AAAA",
        lambda token: token.replace(".", "..", 1),
        lambda token: token.replace(".", "\u2024"),
        lambda token: token + "\u200b",
        lambda token: token + "\ud800",
        lambda token: token.rpartition(".")[0],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token.partition(".")[2],
    ],
)
def test_no_other_spelling_of_a_good_token_is_accepted(change: object) -> None:
    token = _KEY.sign(claims())
    assert callable(change)
    assert isinstance(guard(_KEY).check(change(token)), Denied)


def test_unused_bits_of_the_last_character_have_to_be_zero() -> None:
    token = _KEY.sign(claims())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [token[:-1] + character for character in alphabet if character != token[-1]]
    assert {reason(guard(_KEY).check(other)) for other in others} <= {Reason.MALFORMED, Reason.BAD_SIGNATURE}


def test_the_standard_alphabet_is_not_the_url_safe_one() -> None:
    for jti in map(str, range(200)):
        token = _KEY.sign(claims(jti=jti))
        if "-" in token or "_" in token:
            assert reason(guard(_KEY).check(token.replace("-", "+").replace("_", "/"))) is Reason.MALFORMED
            return
    pytest.fail("no token had a character that differs")


def test_a_json_serialized_jws_is_not_a_token() -> None:
    header, payload, signature = _KEY.sign(claims()).split(".")
    flattened = json.dumps({"protected": header, "payload": payload, "signature": signature})
    assert reason(guard(_KEY).check(flattened)) is Reason.MALFORMED


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_answered(text: str) -> None:
    assert isinstance(guard(_KEY).check(text), Denied)


@settings(max_examples=200, deadline=None)
@given(header=st.binary(max_size=80), payload=st.binary(max_size=200))
def test_any_bytes_are_answered(header: bytes, payload: bytes) -> None:
    assert isinstance(guard(_KEY).check(f"{b64(header)}.{b64(payload)}.{b64(bytes(64))}"), Denied)
    assert isinstance(guard(_KEY).check(_KEY.sign_raw(_HEADER, payload)), Denied)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_single_changed_character_is_noticed(data: st.DataObject) -> None:
    token = _KEY.sign(claims(iss=ISSUER, aud=[AUDIENCE]))
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != token[at]))
    assert isinstance(guard(_KEY).check(token[:at] + other + token[at + 1 :]), Denied)
