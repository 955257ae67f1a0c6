"""Key ids that are more than a name (RFC 8725 section 3.10)."""

import pytest

from stagedoor.verdict import Reason
from tests.support.attacking import reason
from tests.support.sdk_tokens import SigningKey, claims, guard


@pytest.mark.parametrize(
    "kid",
    ["../../../../dev/null", "key-1' OR '1'='1", "key-1\x00", "KEY-1", " key-1", "https://evil.example/jwks", "", "é"],
)
def test_a_key_id_is_a_name_and_nothing_else(key: SigningKey, kid: str) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"kid": kid}))) is Reason.UNKNOWN_KEY


@pytest.mark.parametrize("kid", [1, True, ["key-1"], {"key-1": 1}, 1.5])
def test_a_key_id_is_text(key: SigningKey, kid: object) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"kid": kid}))) is Reason.MALFORMED


def test_a_token_without_a_key_id(key: SigningKey) -> None:
    assert reason(guard(key).check(key.sign(claims(), {"kid": None}))) is Reason.MALFORMED
