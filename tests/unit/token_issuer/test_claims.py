"""The `claims` parameter."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.token_issuer.claims import CLAIM_SCOPES, CLAIMS, AskedClaims, parse, scopes_for
from shared.errors import Refusal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from([*CLAIMS, "sub", "acr", "auth_time", "shoe_size"])
SAID = JSON | st.fixed_dictionaries(
    {}, optional={"essential": JSON, "value": JSON, "values": st.lists(JSON, max_size=2) | JSON}
)
PARAMETER = st.fixed_dictionaries(
    {}, optional={"userinfo": st.dictionaries(NAMES, SAID) | JSON, "id_token": st.dictionaries(NAMES, SAID) | JSON}
)


def read(parameter: Any) -> AskedClaims:
    return parse(json.dumps(parameter))


def test_what_is_asked() -> None:
    assert parse(None) == parse("{}") == AskedClaims()
    asked = read({"userinfo": {"name": None, "email": {"essential": True}, "picture": None, "phone_number": {}}})
    assert asked == AskedClaims(userinfo=("name", "email", "phone_number"))


def test_what_is_not_understood_is_left_aside() -> None:
    more = {"verified_claims": [1], "userinfo": {"name": {"essential": False, "purpose": "why", "value": "Freddie"}}}
    assert read(more) == AskedClaims(userinfo=("name",))


def test_an_id_token_is_asked_for_nothing_personal() -> None:
    assert read({"id_token": {"name": {"essential": True}, "email": None, "auth_time": None}}) == AskedClaims()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"userinfo"',
        "{",
        '{"userinfo":{}} {}',
        "{'userinfo':{}}",
        '{"userinfo":{"name":null},}',
        '{"userinfo":[]}',
        '{"userinfo":null}',
        '{"userinfo":{"name":true}}',
        '{"userinfo":{"name":{"essential":1}}}',
        '{"userinfo":{"name":{"values":"a"}}}',
        '{"userinfo":{"name":{"value":"a","values":["b"]}}}',
        '{"userinfo":{"name":{"value":NaN}}}',
        '{"userinfo":{"sub":{"value":1}}}',
        '{"userinfo":{"sub":{"value":""}}}',
        '{"userinfo":{"sub":{"value":"\\ud800"}}}',
        '{"userinfo":{"sub":{"values":["a","b"]}}}',
        '{"userinfo":{"sub":{"value":"a"}},"id_token":{"sub":{"value":"b"}}}',
        '{"id_token":{"acr":{"values":[1]}}}',
    ],
)
def test_what_is_not_in_order_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse(text)
    assert refusal.value.code == "invalid_request"


def test_an_essential_class_of_sign_in() -> None:
    assert read({"id_token": {"acr": {"essential": True, "value": "a"}}}).acr == ("a",)
    assert read({"id_token": {"acr": {"essential": True}}}).acr == ()
    assert read({"userinfo": {"acr": {"essential": True, "value": "a"}}}).acr == ()


def test_a_scope_that_holds_a_claim_is_enough() -> None:
    asked = AskedClaims(userinfo=("name", "email", "email_verified", "address"))
    assert scopes_for(asked, ("openid", "email")) == ("claim:name", "claim:address")
    assert all(scope in CLAIM_SCOPES for scope in scopes_for(asked, ()))


@given(PARAMETER)
def test_whatever_it_says_it_is_read_or_refused(parameter: Any) -> None:
    asked = AskedClaims()
    with suppress(Refusal):
        asked = read(parameter)
    assert set(asked.userinfo) <= set(CLAIMS)
    assert asked.sub is None or asked.sub.isascii()
