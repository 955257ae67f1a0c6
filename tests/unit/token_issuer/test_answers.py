"""How answers travel."""

from urllib.parse import parse_qs, urlsplit

import pytest

from services.token_issuer.authorization.answers import Redirect, ResponseMode, answer

TOLD = {"code": "c&d", "state": "a b#<\"'>", "iss": "https://id.example", "error": None}
GIVEN = {name: value for name, value in TOLD.items() if value is not None}


@pytest.mark.parametrize("uri", ["https://app.example/back", "https://app.example/back?a=b"])
def test_in_the_address(uri: str) -> None:
    by_query = answer(uri, ResponseMode.QUERY, TOLD)
    assert by_query.uri.startswith(uri)
    assert by_query.form == ()
    assert "#" not in by_query.uri
    query = parse_qs(urlsplit(by_query.uri).query)
    assert {name: query[name] for name in GIVEN} == {name: [value] for name, value in GIVEN.items()}
    by_fragment = answer(uri, ResponseMode.FRAGMENT, TOLD)
    before, _, fragment = by_fragment.uri.partition("#")
    assert (before, by_fragment.form) == (uri, ())
    assert parse_qs(fragment) == {name: [value] for name, value in GIVEN.items()}


def test_in_a_form() -> None:
    uri = "https://app.example/back?a=b"
    assert answer(uri, ResponseMode.FORM_POST, TOLD) == Redirect(uri, tuple(GIVEN.items()))
