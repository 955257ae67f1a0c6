"""An event as a message."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from services.identity import events as identity
from services.registry import events as registry
from shared.log.event import Event, Personal
from shared.log.row import EventRow
from shared.messaging.message import claimed_position, encode, is_message_of, message_id

KEY = bytes(32)


def row(event: Event, **changed: object) -> EventRow:
    plain = EventRow(
        epoch=1,
        position=7,
        stream="application-x",
        version=3,
        type=event.stored_as,
        data=event.to_json(KEY),
        data_digest=b"",
        salt=b"",
        actor="user:brian",
        command_id=UUID(int=5),
        correlation_id="c" * 22,
        causation_id=4,
        recorded_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        leaf_hash=b"",
    )
    return replace(plain, **changed)  # the test names fields of the row


DISABLED = registry.ApplicationDisabled(client_id="com.example/app", reason='Jürgen "said" so \u2028 \N{GUITAR}')


def test_the_body_tells_all_of_the_record() -> None:
    written = row(DISABLED)
    body = msgspec.json.decode(encode(written, 5).body)
    assert body.pop("data") == DISABLED.model_dump(mode="json")
    assert body == {
        "position": 7,
        "epoch": 1,
        "stream": "application-x",
        "version": 3,
        "type": "registry.ApplicationDisabled",
        "actor": "user:brian",
        "command_id": str(UUID(int=5)),
        "correlation_id": "c" * 22,
        "causation_id": 4,
        "recorded_at": "2026-01-02T03:04:05.678901Z",
    }


def test_the_data_stands_in_the_body_byte_for_byte() -> None:
    written = row(DISABLED)
    assert b'"data":' + written.data.encode() in encode(written, 5).body


def test_pruned_data_is_null() -> None:
    body = msgspec.json.decode(encode(row(DISABLED, data=""), 5).body)
    assert body["data"] is None


def test_personal_data_stays_ciphertext() -> None:
    started = identity.SessionStarted(
        sub="sub",
        sid="sid",
        secret_digest="d",
        auth_time=datetime(2026, 1, 1, tzinfo=UTC),
        amr=("pwd",),
        expires_at=datetime(2026, 1, 8, tzinfo=UTC),
        address=Personal("192.0.2.7"),
    )
    message = encode(row(started), 5)
    assert b"192.0.2.7" not in message.body
    assert msgspec.json.decode(message.body)["data"]["address"].startswith("p1.")


def test_the_id_is_the_position_and_after_the_first_epoch_the_epoch_too() -> None:
    assert message_id(row(DISABLED)) == "7"
    assert message_id(row(DISABLED, epoch=2)) == "2-7"


def test_it_states_what_it_must_come_after() -> None:
    message = encode(row(DISABLED), 5, "6")
    assert message.subject == "stagedoor.events.registry.ApplicationDisabled"
    assert message.headers["Nats-Expected-Last-Sequence"] == "6"
    assert message.headers["Nats-Expected-Last-Msg-Id"] == "6"
    assert message.headers["stagedoor-previous"] == "5"


@pytest.mark.parametrize("text", ["", "x", "-1", "+1", "1.0", " 1", "１", "9" * 30])  # noqa: RUF001  (a full-width digit)
def test_a_position_that_is_no_number_is_none(text: str) -> None:
    assert claimed_position({**encode(row(DISABLED), 5).headers, "stagedoor-position": text}) is None


def test_a_message_claims_its_position() -> None:
    assert claimed_position(encode(row(DISABLED), 5).headers) == 7
    assert claimed_position({}) is None


def test_a_stored_message_is_recognized_by_what_it_tells() -> None:
    written = row(DISABLED)
    message = encode(written, 5)
    assert is_message_of(written, message.subject, message.headers, message.body)
    others = [
        row(DISABLED, command_id=UUID(int=6)),
        row(DISABLED, epoch=2),
        row(DISABLED, stream="application-y"),
        row(DISABLED, type="registry.ApplicationEnabled"),
    ]
    for other in others:
        assert not is_message_of(other, message.subject, message.headers, message.body)
    assert not is_message_of(written, message.subject, message.headers, b"{}")
    assert not is_message_of(written, message.subject, {}, message.body)
