"""Forms with many fields."""

import pytest

from services.console.pages.fields import Field, Shape, read, shown, typed
from services.console.pages.shown import said
from shared.errors import Refusal
from shared.http.forms import single

FIELDS = (
    Field("name", "Name"),
    Field("uris", "URIs", Shape.LINES),
    Field("scopes", "Scopes", Shape.WORDS),
    Field("seconds", "Seconds", Shape.NUMBER),
    Field("kind", "Kind", Shape.CHOICE, ("one", "two")),
    Field("grants", "Grants", Shape.CHOICES, ("code", "refresh")),
    Field("flag", "Flag", Shape.FLAG),
    Field("password", "Password", Shape.PASSWORD),
)


def test_what_is_typed_is_read() -> None:
    form = single(
        {
            "name": " A name ",
            "uris": " https://a.example \r\n\r\nhttps://b.example\r\n",
            "scopes": "read  update",
            "seconds": "60",
            "kind": "two",
            "grants:refresh": "yes",
            "grants:invented": "yes",
            "flag": "yes",
            "password": " two spaces ",
        }.items()
    )
    assert read(FIELDS, form) == {
        "name": "A name",
        "uris": ["https://a.example", "https://b.example"],
        "scopes": ["read", "update"],
        "seconds": 60,
        "kind": "two",
        "grants": ["refresh"],
        "flag": True,
        "password": " two spaces ",
    }


@pytest.mark.parametrize(("name", "text"), [("seconds", "-1"), ("seconds", "1e3"), ("seconds", "²"), ("kind", "three")])
def test_what_no_such_field_holds_is_refused_and_shown_empty(name: str, text: str) -> None:
    form = single([(name, text), ("name", "kept")])
    with pytest.raises(Refusal):
        read(FIELDS, form)
    again = typed(FIELDS, form)
    assert again["name"] == "kept"
    assert not again[name]


def test_a_password_is_never_shown_again() -> None:
    values = typed(FIELDS, single([("password", "red-special-1963")]))
    assert "red-special" not in str(shown(FIELDS, values))


def test_personal_data_of_the_log_is_not_told() -> None:
    assert "sealed" not in said('{"profile":{"email":"p1.sealed"},"list":["p1.sealed"],"kind":"internal"}')
    assert "internal" in said('{"kind":"internal"}')
    assert said("") == "(pruned)"
