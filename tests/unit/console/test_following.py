"""The stream of events that a browser follows."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.console.pages import log
from services.console.sessions import SignedIn
from shared.errors import Kind, Refusal

WHO = SignedIn("sub", "access", "id", 0, 3600)


class Ledger:
    """Says what it is told to say, and then nothing more."""

    Read = None

    def __init__(self, *answers: pb.ReadResponse | Refusal) -> None:
        self.answers = answers
        self.closed = False

    async def stream(self, *_: Any) -> AsyncGenerator[pb.ReadResponse]:
        try:
            for answer in self.answers:
                if isinstance(answer, Refusal):
                    raise answer
                yield answer
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def _told(ledger: Ledger) -> str:
    site = cast("Any", SimpleNamespace(calls=SimpleNamespace(ledger=ledger, stream=ledger.stream)))
    pages = log.LogPages(site, 1)
    return "".join([line async for line in pages._following(WHO, pb.ReadRequest())])


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_QUIET_SECONDS", 0.01)
    monkeypatch.setattr(log, "_FOLLOWING_SECONDS", 0.2)


async def test_a_quiet_log_is_told_of_and_the_browser_comes_again_in_time() -> None:
    ledger = Ledger(pb.ReadResponse(complete_to=7))
    told = await _told(ledger)
    assert "id: 7\nevent: complete\n" in told
    assert ": nothing new\n\n" in told
    assert "ended" not in told
    assert ledger.closed


async def test_whoever_may_not_follow_any_more_is_told_so() -> None:
    ledger = Ledger(pb.ReadResponse(complete_to=7), Refusal(Kind.FORBIDDEN, "role_missing", "the role was\nremoved"))
    told = await _told(ledger)
    assert told.endswith('event: ended\ndata: "the role was\\nremoved"\n\n')
    assert ledger.closed


async def test_an_event_is_one_line_whatever_it_says() -> None:
    event = pb.Event(position=3, type="registry.X", actor="user:a\n\nevent: ended\u2028", data='{"name":"a\\u2028b"}')
    told = await _told(Ledger(pb.ReadResponse(events=pb.Events(events=[event]))))
    lines = [line for line in told.split("\n") if line and not line.startswith((":", "retry"))]
    assert [line.partition(":")[0] for line in lines] == ["id", "event", "data"]
    assert told.isascii()
