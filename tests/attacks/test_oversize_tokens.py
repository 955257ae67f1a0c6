"""Tokens that are meant to wear a reader out."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.token import MAXIMUM_BYTES
from stagedoor.verdict import Denied, Reason
from tests.support.attacking import reason
from tests.support.doors import REFUSED, Doors
from tests.support.sdk_tokens import SigningKey, acting, b64, claims, guard

_KEY = SigningKey()
_HEADER = json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": "key-1"}).encode()


def test_a_long_act_chain() -> None:
    first = claims()["client_id"]
    for length, accepted in ((7, True), (8, False), (60, False)):
        chain = acting([first, *(f"com.chain/{number}" for number in range(1, length))])
        verdict = guard(_KEY).check(_KEY.sign(claims(act=chain, derived_from=["jti-0"])))
        assert (isinstance(verdict, Denied), reason(verdict) is Reason.MALFORMED) == (not accepted, not accepted)


def test_derived_from_ever_so_many() -> None:
    act = acting([claims()["client_id"]])
    for many, accepted in ((8, True), (9, False), (500, False)):
        jtis = [f"jti-{number}" for number in range(many)]
        verdict = guard(_KEY).check(_KEY.sign(claims(act=act, derived_from=jtis)))
        assert (isinstance(verdict, Denied), reason(verdict) is Reason.MALFORMED) == (not accepted, not accepted)


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


async def test_nesting_without_end_at_every_door(doors: Doors) -> None:
    """A header is read before its signature, so it is what an attacker nests."""
    honest, _, signature = doors.honest.access_token.split(".")
    kinds = (b'{"kid":' + b"[" * 2500 + b"]" * 2500 + b"}", b'{"a":' * 900 + b"1" + b"}" * 900)
    # A hint is a parameter, and those are not read past 4096 characters.
    for deep in (*kinds, b"[" * 5000, b"[" * 2800, b'{"a":' + b"[" * 2700):
        for token in (f"{b64(deep)}.{b64(b'{}')}.{signature}", f"{honest}.{b64(deep)}.{signature}"):
            assert await doors.answers(token) == REFUSED


async def test_oversize_at_every_door(doors: Doors) -> None:
    for token in (doors.honest.access_token + "A" * 9000, "A" * 9000, "." * 9000):
        assert await doors.answers(token) == REFUSED
