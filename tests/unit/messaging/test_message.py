"""An event as a message, there and back; what contradicts itself is not an event."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from services.identity import events as identity
from services.registry import events as registry
from shared.log.event import Catalogue, Event, Personal
from shared.log.row import EventRow
from shared.messaging.message import Incoming, Outgoing, encode, is_message_of, message_id

CATALOGUE = Catalogue.of(registry, identity)
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


def received(message: Outgoing, **headers: str) -> Incoming:
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Incoming({**message.headers, **changed}, message.body)


def test_an_event_survives_the_way() -> None:
    written = row(DISABLED)
    recorded = received(encode(written, 5)).recorded(CATALOGUE)
    assert recorded.event == DISABLED
    for name in (
        *("epoch", "position", "stream", "version", "actor"),
        *("command_id", "correlation_id", "causation_id", "recorded_at"),
    ):
        assert getattr(recorded, name) == getattr(written, name)


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
    event = received(message).recorded(CATALOGUE).event
    assert isinstance(event, identity.SessionStarted)
    assert event.address is not None
    assert event.address.reveal() is None


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
    assert received(encode(row(DISABLED), 5), stagedoor_position=text).position is None


def test_headers_that_disagree_with_the_body_are_refused() -> None:
    message = encode(row(DISABLED), 5)
    for headers in ({"stagedoor_position": "8"}, {"stagedoor_epoch": "2"}, {"stagedoor_epoch": ""}):
        with pytest.raises(ValueError, match="disagree"):
            received(message, **headers).recorded(CATALOGUE)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "registry.Unheard"},
        {"data": {"client_id": "x"}},
        {"data": {"client_id": "x", "reason": "y", "more": 1}},
        {"data": None},
        {"position": "7"},
        {"extra": 1},
    ],
)
def test_a_body_that_is_not_exactly_an_event_is_refused(change: dict[str, object]) -> None:
    message = encode(row(DISABLED), 5)
    body = {**msgspec.json.decode(message.body), **change}
    with pytest.raises(ValueError, match=r".+"):
        Incoming(message.headers, msgspec.json.encode(body)).recorded(CATALOGUE)


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
