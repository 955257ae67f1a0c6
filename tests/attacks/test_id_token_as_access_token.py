"""One kind of JWT used as another (RFC 8725 sections 2.8 and 3.11)."""

import pytest

from stagedoor.verdict import Allowed, Reason
from tests.support.attacking import reason
from tests.support.doors import HINT, INTROSPECTION, REFUSED, Doors, parts, unsigned
from tests.support.sdk_tokens import SigningKey, claims, guard


@pytest.mark.parametrize("kind", ["JWT", "jwt", "logout+jwt", "dpop+jwt", "AT+JWT", "at+jwt ", 1, ["at+jwt"]])
def test_an_id_token_is_not_an_access_token(key: SigningKey, kind: object) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"typ": kind}))) is Reason.WRONG_TYPE


def test_a_token_that_does_not_say_what_it_is(key: SigningKey) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"typ": None}))) is Reason.WRONG_TYPE
    assert isinstance(guard(key).check(key.sign(claims())), Allowed)


async def test_what_is_no_access_token_at_every_door(doors: Doors) -> None:
    answers = await doors.answers(doors.honest.id_token)
    assert {**answers, HINT: REFUSED[HINT]} == REFUSED
    answers = await doors.answers(doors.honest.refresh_token)
    assert {**answers, INTROSPECTION: REFUSED[INTROSPECTION]} == REFUSED
    for token in doors.honest.access_tokens:
        assert await doors.hint(token) == REFUSED[HINT]


async def test_an_id_token_that_calls_itself_an_access_token(doors: Doors) -> None:
    """Its type is signed, so it cannot be said otherwise afterwards."""
    _, said, signature = parts(doors.honest.id_token)
    for typ in ("at+jwt", "application/at+jwt", "AT+JWT"):
        header = {**parts(doors.honest.id_token)[0], "typ": typ}
        assert await doors.answers(f"{unsigned(header, said)}.{signature}") == REFUSED
