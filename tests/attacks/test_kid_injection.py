"""Key ids that are more than a name (RFC 8725 section 3.10)."""

import json

import pytest

from stagedoor.verdict import Reason
from tests.support.attacking import reason
from tests.support.doors import REFUSED, Doors, parts
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


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../../../dev/null",
        "/proc/sys/kernel/randomize_va_space",
        "file:///dev/null",
        "' UNION SELECT 'key' --",
        "x'; DROP TABLE token_issuer.signing_keys; --",
        "$(id)",
        "|id",
        "%s%s%n",
        "\r\nX: y",
        "\u0000",
        "k" * 5000,
        "",
        None,
        0,
        ["a"],
        {"a": "b"},
    ],
)
async def test_a_key_id_at_every_door(doors: Doors, key: SigningKey, kid: object) -> None:
    for token in (*doors.honest.access_tokens, doors.honest.id_token):
        header, said, _ = parts(token)
        assert await doors.answers(key.sign(said, {"typ": header["typ"], "kid": kid})) == REFUSED


async def test_two_key_ids_at_every_door(doors: Doors, key: SigningKey) -> None:
    for token in (*doors.honest.access_tokens, doors.honest.id_token):
        header, said, _ = parts(token)
        for first, second in ((header["kid"], "key-1"), ("key-1", header["kid"])):
            twice = json.dumps({**header, "kid": first})[:-1] + f', "kid": "{second}"' + "}"
            assert await doors.answers(key.sign_raw(twice.encode(), json.dumps(said).encode())) == REFUSED
