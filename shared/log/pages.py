"""How much of the log is read at a time.

A page has so many events at the most, and ends with the one with which their data come to `PAGE_BYTES`: so it is never
larger than that and one event (`shared.log.group.MOST_EVENT_BYTES`). Whoever replays the log has two pages at a time,
the one that is looked at and the next one. In memory a text that is not all ASCII may take four times its bytes.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")

PAGE_BYTES: Final = 4 * 1024 * 1024
"""2,000 events have so much if each has two kilobytes; of ordinary ones the number ends a page."""


class Page(Struct, Generic[T], frozen=True):
    """What one look at the log brought."""

    events: Sequence[T]
    """In order."""
    full: bool
    """There may be more behind the last one; False: that was all."""


def is_full(records: Sequence[Any], limit: int) -> bool:
    """Whether these records (with `data`) are as many as were asked for, or as much as a page has."""
    return len(records) >= limit or filled(record["data"] for record in records)


def filled(data: Iterable[str | bytes]) -> bool:
    """Whether these are as much data of events as a page has, counted as the database does."""
    return sum(len(one) if isinstance(one, bytes) or one.isascii() else len(one.encode()) for one in data) >= PAGE_BYTES
