"""Reading a token, beside what the attacks show: both ways of reading say the same."""

import json

import msgspec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from stagedoor import token as tokens
from stagedoor.keys import StaticKeys, ecdsa_value
from stagedoor.token import AccessToken
from tests.support.sdk_tokens import EXCHANGED, ISSUER, SigningKey, claims

_KEY = SigningKey()
_KEYS = StaticKeys([_KEY.public])
_HALF = st.one_of(st.integers(1, 2**256 - 1), st.integers(1, 300), st.integers(2**247, 2**249))


@given(_HALF, _HALF)
def test_a_signature_in_der_is_what_the_library_would_write(r: int, s: int) -> None:
    assert ecdsa_value(r.to_bytes(32) + s.to_bytes(32)) == encode_dss_signature(r, s)


@given(_HALF)
def test_half_a_signature_is_none(half: int) -> None:
    assert ecdsa_value(half.to_bytes(32) + bytes(32)) is None
    assert ecdsa_value(bytes(32) + half.to_bytes(32)) is None


def read(payload: bytes) -> AccessToken:
    header = json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": _KEY.kid}).encode()
    found = tokens.read(_KEY.sign_raw(header, payload), _KEYS, ISSUER)
    assert isinstance(found, AccessToken)
    return found


def test_spelling_and_order_make_no_difference_to_what_is_read() -> None:
    said = claims(**EXCHANGED, roles=["auditor"], unheard_of={"a": [1, None, "ü"]})
    short, spaced = read(msgspec.json.encode(said)), read(json.dumps(dict(reversed(said.items())), indent=1).encode())
    assert short.said == spaced.said
    assert (short.clients, short.scopes) == (spaced.clients, spaced.scopes)
    assert json.loads(short.payload) == json.loads(spaced.payload) == said


def test_headers_are_remembered_only_of_verified_tokens_and_not_without_bound() -> None:
    tokens._HEADERS.clear()
    signed, _, _ = _KEY.sign(claims()).rpartition(".")
    tokens.read(f"{signed}.{'A' * 86}", _KEYS, ISSUER)
    assert tokens._HEADERS == {}
    for number in range(3 * tokens._MOST_HEADERS):
        header = json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": _KEY.kid}).replace(" ", " " * number)
        assert isinstance(
            tokens.read(_KEY.sign_raw(header.encode(), json.dumps(claims()).encode()), _KEYS, ISSUER), AccessToken
        )
    assert 0 < len(tokens._HEADERS) <= tokens._MOST_HEADERS
