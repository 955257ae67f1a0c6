"""Archives beside the log: what they have, and what they make known more exactly."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from services.cli.answers import events_of, pages
from services.cli.connection import Connection
from services.cli.progress import progress
from shared.errors import Kind, Refusal
from shared.evidence.stagedoor_verify import Archive, ArchiveFile, Key, Unlike, Wrong

_TELL_EACH: Final = 1000
"""Positions."""


async def read_all(file: ArchiveFile, path: Path, *, quiet: bool) -> Archive:
    """Check an archive; what was signed of it."""

    def check() -> Archive:
        first, last = file.bounds()
        with progress(last - first + 1, "positions", what=path.name, quiet=quiet) as advance:
            for position, _, _ in file.read():
                if position % _TELL_EACH == 0:
                    advance(position - first + 1)
        return file.check_read()[0]

    return await asyncio.to_thread(check)


async def narrowed(services: Connection, unlike: Unlike, known: Iterable[ArchiveFile]) -> Wrong:
    """The first event that is missing and was not archived, or the other way round, if there is an archive of it."""
    there = {
        event["position"]
        async for page in pages(services, unlike.low - 1, unlike.high)
        for event in events_of(page)
        if "type" in event
    }
    for file in known:
        for position, _, event in file.read():
            if unlike.low <= position <= unlike.high and (event is None) != (position in there):
                what = (
                    "the event is missing, and was not archived" if event is None else "it was archived, and is there"
                )
                return Wrong(what, position)
    return unlike


def archived_event(path: Path, key: Key, position: int) -> dict[str, Any]:
    """An event of an archive."""
    for at, _, event in ArchiveFile(path, key).read():
        if at == position and event is not None:
            return dict(event)
    raise Refusal(Kind.NOT_FOUND, "not_in_the_archive", f"{path} does not have the event of position {position}")
