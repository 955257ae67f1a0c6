from contextlib import suppress

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from services.identity.common_passwords import most_frequent
from services.identity.domain.names import (
    normalised,
    normalised_password,
    plausible_password,
    valid_password,
    valid_user_name,
)
from shared.errors import Refusal


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Freddie", "freddie"),
        ("  freddie ", "freddie"),
        ("ＦＲＥＤＤＩＥ", "freddie"),  # noqa: RUF001  (full width, on purpose)
        ("Straße", "strasse"),
        ("ﬁnn", "finn"),
        ("freddie@example.com", "freddie@example.com"),
    ],
)
def test_names_that_look_alike_are_the_same(written: str, meant: str) -> None:
    assert valid_user_name(written) == meant


@given(st.text(max_size=80))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@settings(suppress_health_check=[HealthCheck.filter_too_much])  # few texts are names
@given(st.text(max_size=80))
def test_a_name_that_is_accepted_is_accepted_in_its_normal_form(text: str) -> None:
    name = ""
    with suppress(Refusal):
        name = valid_user_name(text)
    assume(name)
    assert len(name) <= 64
    assert valid_user_name(name) == name


@pytest.mark.parametrize("password", ["", "1234567", "a" * 257, "é" * 7])
def test_passwords_of_a_wrong_length_are_refused(password: str) -> None:
    assert not plausible_password(password)
    with pytest.raises(Refusal) as caught:
        valid_password(password, "freddie", most_frequent())
    assert caught.value.code == "invalid_password"
    assert password == "" or password not in caught.value.message


@pytest.mark.parametrize(
    "password", ["73915286", "a" * 256, "        ", "correct horse battery staple", "пароль-и-слова"]
)
def test_there_are_no_rules_of_composition(password: str) -> None:
    assert valid_password(password, "freddie", most_frequent())


@pytest.mark.parametrize("password", ["freddie-mercury", "FREDDIE-MERCURY", " Freddie-Mercury "])
def test_the_name_is_no_password(password: str) -> None:
    with pytest.raises(Refusal):
        valid_password(password, "freddie-mercury", most_frequent())


def test_the_same_password_from_two_keyboards_is_the_same() -> None:
    composed, decomposed = "caf\u00e9-am-see", "cafe\u0301-am-see"
    assert normalised_password(composed) == normalised_password(decomposed)
