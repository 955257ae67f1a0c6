"""One event on one line, for people."""

import pytest

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli.audit import _line


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
    line = _line(pb.Event(position=7, type="a.Thing", actor="user:x"), data)
    assert line.endswith(f"  {expected}")
    assert "\n" not in line
    assert line.isprintable()
