"""Tokens that are meant to wear a reader out."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.token import MAXIMUM_BYTES
from stagedoor.verdict import Denied, Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import SigningKey, b64, claims, guard

_KEY = SigningKey()
_HEADER = json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": "key-1"}).encode()


def test_a_long_act_chain() -> None:
    chain: dict[str, object] = {"client_id": "com.last/app"}
    for number in range(60):
        chain = {"client_id": f"com.chain/{number}", "act": chain}
    assert reason(guard(_KEY).check(_KEY.sign(claims(act=chain)))) is Reason.MALFORMED


def test_an_oversize_token_is_not_read() -> None:
    token = _KEY.sign(claims(filling="x" * MAXIMUM_BYTES))
    assert reason(guard(_KEY).check(token)) is Reason.MALFORMED
    assert reason(guard(_KEY).check("x" * 50_000_000)) is Reason.MALFORMED


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_answered(text: str) -> None:
    assert isinstance(guard(_KEY).check(text), Denied)


@settings(max_examples=200, deadline=None)
@given(header=st.binary(max_size=80), payload=st.binary(max_size=200))
def test_any_bytes_are_answered(header: bytes, payload: bytes) -> None:
    assert isinstance(guard(_KEY).check(f"{b64(header)}.{b64(payload)}.{b64(bytes(64))}"), Denied)
    assert isinstance(guard(_KEY).check(_KEY.sign_raw(_HEADER, payload)), Denied)
