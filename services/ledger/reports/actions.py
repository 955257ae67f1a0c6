"""What one person, or one application, did."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from services.ledger.past import Moment, Past
from services.ledger.reports.report import Row
from shared.history import PERSONAL
from shared.log.row import EventFilter, EventRow

_SEALED: Final = "p1."
"""What personal data begins with as it is stored."""
_DIGEST: Final = "digest"


@dataclass(frozen=True, slots=True)
class Actions:
    """All facts whose actor they were; of an application also what it did for people, who are then the actors."""

    sub: str
    client_id: str
    since: datetime | None

    columns = ("position", "at", "actor", "what", "client_id", "sub", "details", "correlation_id")

    @property
    def about(self) -> Mapping[str, str]:
        """As of `Report`."""
        since = "" if self.since is None else self.since.isoformat()
        return {"report": "actions", "sub": self.sub, "client_id": self.client_id, "since": since}

    async def rows(self, past: Past, moment: Moment) -> AsyncIterator[Row | int]:
        """In order."""
        after = await past.since(self.since)
        if self.sub:
            wanted = EventFilter(actors=(f"user:{self.sub}",))
            async for looked, rows in past.matching(after, moment.position, wanted):
                for row in rows:
                    yield _row(row)
                yield looked
            return
        itself = EventFilter(actors=(f"client:{self.client_id}",))
        for_people = EventFilter(sources=("resource",), client_ids=(self.client_id,))
        waiting: list[EventRow] = []
        async for looked, rows in past.matching(after, moment.position, itself):
            others = [row async for _, page in past.matching(after, looked, for_people) for row in page]
            waiting = [*rows, *(row for row in others if row.actor != f"client:{self.client_id}")]
            for row in sorted(waiting, key=lambda one: one.position):
                yield _row(row)
            after = looked
            yield looked


def _row(row: EventRow) -> Row:
    said: dict[str, Any] = json.loads(row.data)
    return {
        "position": row.position,
        "at": row.recorded_at,
        "actor": row.actor,
        "what": row.type,
        "client_id": said.pop("client_id", ""),
        "sub": said.pop("sub", ""),
        "details": {name: _told(value) for name, value in said.items() if _DIGEST not in name},
        "correlation_id": row.correlation_id,
    }


def _told(value: Any) -> Any:
    """Without what is personal."""
    if isinstance(value, str):
        return PERSONAL if value.startswith(_SEALED) else value
    if isinstance(value, dict):
        return {name: _told(one) for name, one in value.items()}
    return [_told(one) for one in value] if isinstance(value, list) else value
