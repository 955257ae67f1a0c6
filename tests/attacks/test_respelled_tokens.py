"""A good token, written differently."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.verdict import Denied, Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import AUDIENCE, ISSUER, SigningKey, claims, guard

_KEY = SigningKey()


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


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_single_changed_character_is_noticed(data: st.DataObject) -> None:
    token = _KEY.sign(claims(iss=ISSUER, aud=[AUDIENCE]))
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != token[at]))
    assert isinstance(guard(_KEY).check(token[:at] + other + token[at + 1 :]), Denied)
