"""Events as the database has them, to be held against the tree."""

from collections.abc import Sequence
from typing import Any

from shared.log import pages
from shared.log.event import Retention
from shared.log.log import Log
from shared.questions import ask


async def stored(log: Log, after: int, until: int, retention: Retention | None = None) -> tuple[int, Sequence[Any]]:
    """What is hashed of the events after a position and up to another, and up to which one it goes: it is a page.

    Rows as `log.evidence_page` answers them; of one retention class, or of both.
    """
    rows = await ask(
        log.pool.fetch("SELECT * FROM log.evidence_page($1, $2, $3, $4)", after, until, pages.PAGE_BYTES, retention)
    )
    return (rows[-1]["position"] if pages.filled(row["data"] for row in rows) else until), rows
