"""Parameters are read strictly, or not at all."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from shared.errors import Kind, Refusal
from shared.http.errors import HttpRefusal
from shared.http.forms import MOST_PARAMETERS, parse_pairs, read_form, read_query, single

FORM = (b"content-type", b"application/x-www-form-urlencoded")
Pairs = list[tuple[str, str]]


def _receiving(*chunks: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def messages() -> AsyncIterator[dict[str, Any]]:
        for number, chunk in enumerate(chunks, start=1):
            yield {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        raise AssertionError("it reads on past the end")

    return messages().__anext__


def _request(*chunks: bytes, headers: tuple[tuple[bytes, bytes], ...] = (FORM,), query: bytes = b"") -> Request:
    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers), "query_string": query}
    return Request(scope, _receiving(*chunks or (b"",)))


async def test_pairs_come_in_their_order() -> None:
    request = _request(b"grant_type=client_cred", b"entials&scope=read+upd", b"ate&scope2=%C3%BC%2B&empty=&bare")
    assert await read_form(request) == [
        ("grant_type", "client_credentials"),
        ("scope", "read update"),
        ("scope2", "ü+"),
        ("empty", ""),
        ("bare", ""),
    ]


async def test_a_query_is_read_the_same_way() -> None:
    assert read_query(_request(query=b"a=1&a=%20")) == [("a", "1"), ("a", " ")]
    assert read_query(_request()) == []
    assert await read_form(_request()) == []


@pytest.mark.parametrize(
    "value",
    [
        b"application/x-www-form-urlencoded",
        b"application/x-www-form-urlencoded; charset=utf-8",
        b"application/x-www-form-urlencoded;charset=UTF-8",
        b'Application/X-WWW-Form-Urlencoded ; charset="utf-8"',
    ],
)
async def test_the_types_that_are_read(value: bytes) -> None:
    assert await read_form(_request(b"a=1", headers=((b"content-type", value),))) == [("a", "1")]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"content-type", b"application/json"),),
        ((b"content-type", b"text/plain"),),
        ((b"content-type", b"multipart/form-data; boundary=x"),),
        ((b"content-type", b"application/x-www-form-urlencoded; charset=iso-8859-1"),),
        ((b"content-type", b"application/x-www-form-urlencoded; charset=utf-7"),),
        ((b"content-type", b"application/x-www-form-urlencoded, text/plain"),),
        ((b"content-type", b"application/x-www-form-urlencodedx"),),
        (FORM, FORM),
        (FORM, (b"content-encoding", b"gzip")),
    ],
)
async def test_other_types_are_refused(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    with pytest.raises(HttpRefusal) as refused:
        await read_form(_request(b"a=1", headers=headers))
    assert (refused.value.status, refused.value.code) == (415, "unsupported_media_type")


async def test_a_form_past_the_limit_is_refused() -> None:
    assert await read_form(_request(b"a=123", b"45", b"678"), limit=10) == [("a", "12345678")]
    with pytest.raises(HttpRefusal) as refused:
        await read_form(_request(b"a=123", b"45", b"6789", b"this is not read"), limit=10)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"a=%",
        b"a=%4",
        b"a=%zz",
        b"a=%u00fc",
        b"%=a",
        b"a=%ff",
        b"a=%c0%af",
        b"a=%ed%a0%80",
        b"a=\xc3\xbc",
        b"a=%00",
        b"a\0=1",
        b"%00a=1",
        b"=1",
        b"a=1&=",
        b"&".join(b"a%d=1" % number for number in range(MOST_PARAMETERS + 1)),
    ],
)
async def test_what_is_malformed_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        await read_form(_request(body))
    assert (refused.value.kind, refused.value.code) == (Kind.INVALID, "invalid_request")


def test_a_parameter_twice_is_refused_even_if_it_is_empty_or_the_same() -> None:
    for pairs in ([("a", "1"), ("a", "1")], [("a", "1"), ("a", "")], [("a", ""), ("a", "")]):
        with pytest.raises(Refusal, match="a is given more than once"):
            single(pairs)


def test_some_may_be_repeated() -> None:
    params = single([("resource", "https://a"), ("x", "1"), ("resource", "https://b"), ("resource", "")])
    assert params.all("resource") == ("https://a", "https://b")
    with pytest.raises(Refusal, match="resource is given more than once"):
        params.get("resource")
    with pytest.raises(Refusal, match="resource is given more than once"):
        single([("resource", "a"), ("resource", "b")], repeatable=())
    assert single([("scope", "a"), ("scope", "b")], repeatable={"scope"}).all("scope") == ("a", "b")


def test_a_parameter_without_a_value_counts_as_left_out() -> None:
    params = single([("a", ""), ("b", "1")])
    assert ("a" in params, params.get("a"), params.all("a"), list(params), len(params)) == (False, None, (), ["b"], 1)
    assert params.require("b") == "1"
    with pytest.raises(Refusal, match="a is missing") as refused:
        params.require("a")
    assert refused.value.code == "invalid_request"


def test_nothing_that_was_sent_is_quoted() -> None:
    params = single([("password", "hunter2")])
    assert "hunter2" not in repr(params)
    with pytest.raises(Refusal) as refused:
        single([("<script>", "1"), ("<script>", "1")])
    assert "script" not in refused.value.message


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=MOST_PARAMETERS))
def test_what_a_client_encodes_is_what_is_read(pairs: Pairs) -> None:
    clean = [(name, value) for name, value in pairs if "\0" not in name + value and not _lone(name + value)]
    assert parse_pairs(urlencode(clean).encode(), "body") == clean


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        pairs = parse_pairs(raw, "body")
    except Refusal:
        return
    # What was read means itself: encoded and read again it is the same.
    assert parse_pairs(urlencode(pairs).encode(), "body") == pairs


def _lone(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
