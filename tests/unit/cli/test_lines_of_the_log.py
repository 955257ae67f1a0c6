"""One event on one line, for people."""

import json

import pytest

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli import output
from services.cli.audit import _document, _line


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"client_id": "com.example/app", "reason": "lost laptop"}, 'client_id=com.example/app reason="lost laptop"'),
        ({"sub": "s", "user_name": "p1.c2VhbGVk", "roles": [], "profile": {"email": "p1.x"}, "until": None},
         "sub=s user_name=(personal) profile={email=(personal)}"),
        ({"scopes": ["read", "update"], "enabled": False, "number": 0}, "scopes=read,update enabled=false number=0"),
        ({"reason": "\u001b[2J=evil"}, r'reason="\u001b[2J=evil"'),
        ({"reason": "a sub=b"}, 'reason="a sub=b"'),
        ({}, ""),
        (None, "(pruned)"),
    ],
)  # fmt: skip
def test_what_an_event_says(data: object, expected: str) -> None:
    text = "" if data is None else json.dumps(data)
    line = _line(pb.Event(position=7, type="a.Thing", actor="user:x", data=text))
    assert line.endswith(f"  {expected}")
    assert "\n" not in line
    assert line.isprintable()


def test_an_event_for_programs_has_every_field_and_its_data_as_it_is() -> None:
    event = pb.Event(
        position=7, type="a.Thing", data='{"reason":"\u00fc\u2028\\u0000","n":1}', salt=b"\1\2", causation_id=3
    )
    event.recorded_at.seconds, event.recorded_at.nanos = 1_700_000_000, 5_000
    line = _document(event)
    assert json.loads(line) == {**output.plain(event), "data": json.loads(event.data)}
    assert "\n" not in line
    event.data = ""
    assert json.loads(_document(event))["data"] is None
