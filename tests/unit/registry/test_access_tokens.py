from uuid import UUID

import pytest

from services.registry.access_tokens import (
    INITIAL,
    REGISTRATION,
    InitialAccessTokens,
    is_well_formed,
    new_registration_token,
)
from shared.ids import CommandId, digest
from shared.keys import MasterKey
from shared.telemetry import REDACTED, scrub
from stagedoor.reference import kind_of

COMMAND = CommandId(UUID(int=1))
TOKENS = InitialAccessTokens(MasterKey(bytes(32)))


def test_the_same_command_gives_the_same_token_from_any_replica() -> None:
    token = TOKENS.of(COMMAND)
    assert token == InitialAccessTokens(MasterKey(bytes(32))).of(COMMAND)
    assert token.digest == digest(token.text)
    assert token.text not in repr(token)


def test_anything_else_gives_another() -> None:
    others = [TOKENS.of(CommandId(UUID(int=2))), InitialAccessTokens(MasterKey(bytes(31) + b"1")).of(COMMAND)]
    assert len({token.text for token in (TOKENS.of(COMMAND), *others)}) == 3
    assert len({token.token_id for token in (TOKENS.of(COMMAND), *others)}) == 3


def test_they_have_the_form_that_scanners_look_for() -> None:
    initial, registration = TOKENS.of(COMMAND).text, new_registration_token()
    assert is_well_formed(initial, INITIAL)
    assert is_well_formed(registration, REGISTRATION)
    assert len(initial) == len(registration) == 14 + 43 + 6
    assert registration != new_registration_token()


def test_neither_is_taken_for_the_other_or_for_a_key_of_an_api() -> None:
    initial, registration = TOKENS.of(COMMAND).text, new_registration_token()
    assert not is_well_formed(initial, REGISTRATION)
    assert not is_well_formed(registration, INITIAL)
    assert kind_of(initial.encode()) is None
    assert kind_of(registration.encode()) is None


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + "0", str.lower, lambda text: text[1:]])
def test_what_was_changed_is_none(change: object) -> None:
    assert callable(change)
    assert not is_well_formed(change(TOKENS.of(COMMAND).text), INITIAL)


def test_one_that_gets_into_a_log_line_is_taken_out() -> None:
    for token in (TOKENS.of(COMMAND).text, new_registration_token()):
        assert scrub(f"/id/connect/register/{token}") == f"/id/connect/register/{REDACTED}"
