"""What is read strictly is read in one way, or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.encoding import base64url, from_base64url, strict_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.binary())
def test_bytes_come_back(raw: bytes) -> None:
    assert from_base64url(base64url(raw).decode()) == raw


@given(st.text(max_size=20))
def test_no_two_texts_are_the_same_bytes(text: str) -> None:
    raw = from_base64url(text)
    assert raw is None or base64url(raw).decode() == text


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "A A", "+/+/", "AA\n", "\u00e9", "AAAAA"])
def test_other_forms_are_none(text: str) -> None:
    assert from_base64url(text) is None


@given(VALUES)
def test_values_come_back(value: object) -> None:
    assert strict_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '[{"a":{"b":1,"b":2}}]',
        "NaN",
        "[Infinity]",
        "-Infinity",
        "",
        "{",
        "[" * 100_000,
        "1" * 5000,
        "{} {}",
    ],
    ids=lambda text: text[:20] or "nothing",
)
def test_what_is_not_json_or_says_something_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  (its words depend on what is wrong)
        strict_json(text)
    assert not isinstance(refused.value, UnicodeError)
