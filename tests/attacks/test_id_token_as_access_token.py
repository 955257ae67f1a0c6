"""One kind of JWT used as another (RFC 8725 sections 2.8 and 3.11)."""

import pytest

from stagedoor.verdict import Allowed, Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import SigningKey, claims, guard


@pytest.mark.parametrize("kind", ["JWT", "jwt", "logout+jwt", "dpop+jwt", "AT+JWT", "at+jwt ", 1, ["at+jwt"]])
def test_an_id_token_is_not_an_access_token(key: SigningKey, kind: object) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"typ": kind}))) is Reason.WRONG_TYPE


def test_a_token_that_does_not_say_what_it_is(key: SigningKey) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"typ": None}))) is Reason.WRONG_TYPE
    assert isinstance(guard(key).check(key.sign(claims())), Allowed)
