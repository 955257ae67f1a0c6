from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.registry.client_secrets import PREFIX, SHOWN_AGAIN, ClientSecrets, shown_again
from shared.ids import CommandId, digest
from shared.keys import MasterKey

COMMAND = CommandId(UUID(int=1))
SECRETS = ClientSecrets(MasterKey(bytes(32)))


def test_the_same_command_gives_the_same_secret_from_any_replica() -> None:
    assert SECRETS.of(COMMAND, "com.example/app") == ClientSecrets(MasterKey(bytes(32))).of(COMMAND, "com.example/app")


def test_anything_else_gives_another_secret() -> None:
    one = SECRETS.of(COMMAND, "com.example/app")
    others = [
        SECRETS.of(CommandId(UUID(int=2)), "com.example/app"),
        SECRETS.of(COMMAND, "com.example/other"),
        ClientSecrets(MasterKey(bytes(31) + b"\1")).of(COMMAND, "com.example/app"),
    ]
    assert len({secret.text for secret in (one, *others)}) == len(others) + 1
    assert len({secret.secret_id for secret in (one, *others)}) == len(others) + 1


def test_a_secret_has_256_bits_and_a_prefix_that_scanners_find() -> None:
    text = SECRETS.of(COMMAND, "com.example/app").text
    assert text.startswith(PREFIX)
    assert len(urlsafe_b64decode(text.removeprefix(PREFIX) + "=")) == 32


def test_only_the_digest_goes_on() -> None:
    secret = SECRETS.of(COMMAND, "com.example/app")
    assert secret.new().secret_digest == digest(secret.text)
    assert secret.text not in repr(secret)
    assert secret.text not in repr(secret.new())


def test_a_repetition_is_shown_the_secret_for_a_while() -> None:
    added = datetime(1986, 7, 12, 20, 0, tzinfo=UTC)
    assert shown_again(added, added + SHOWN_AGAIN)
    assert not shown_again(added, added + SHOWN_AGAIN + timedelta(microseconds=1))


def test_no_id_is_taken_for_an_option_of_a_command() -> None:
    ids = [SECRETS.of(CommandId(UUID(int=number)), "com.example/app").secret_id for number in range(500)]
    assert len(set(ids)) == 500
    assert {len(one) for one in ids} == {22}
    assert not [one for one in ids if one.startswith("-")]
