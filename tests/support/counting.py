"""What is asked of the database on the way to an answer: each statement is a round trip."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import asyncpg
import pytest

from shared.log.append import Append, Appended
from shared.log.connections import Connections
from shared.log.log import Log

_seen: ContextVar[list[str] | None] = ContextVar("_seen", default=None)


class RoundTrips:
    """Counts for the code within `counted`, and for what is started by it; followers and feeds go on uncounted."""

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """Fills the list: `ask` for each question, `append` for each append."""
        seen: list[str] = []
        token = _seen.set(seen)
        try:
            yield seen
        finally:
            _seen.reset(token)


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> RoundTrips:
    ask, append = Connections._ask, Log.append

    async def asking(self: Connections, question: Callable[[asyncpg.Connection], Coroutine[Any, Any, Any]]) -> Any:
        _note("ask")
        return await ask(self, question)

    async def appending(self: Log, one: Append) -> Appended:
        _note("append")
        return await append(self, one)

    monkeypatch.setattr(Connections, "_ask", asking)
    monkeypatch.setattr(Log, "append", appending)
    return RoundTrips()


def _note(what: str) -> None:
    seen = _seen.get()
    if seen is not None:
        seen.append(what)
