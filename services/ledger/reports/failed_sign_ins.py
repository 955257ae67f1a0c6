"""Sign-ins that failed: how many, when, and of whom."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.identity.events import SignInsFailed
from services.ledger.past import Moment, Past
from services.ledger.reports.report import Row
from shared.log.row import EventFilter


@dataclass(frozen=True, slots=True)
class FailedSignIns:
    """Of everybody, or of one user."""

    sub: str
    since: datetime | None

    columns = ("position", "from", "until", "sub", "wrong", "not_looked_at")

    @property
    def about(self) -> Mapping[str, str]:
        """As of `Report`."""
        since = "" if self.since is None else self.since.isoformat()
        return {"report": "failed_sign_ins", "sub": self.sub, "since": since}

    async def rows(self, past: Past, moment: Moment) -> AsyncIterator[Row | int]:
        """In order, one for each user and minute; without a `sub`, of names that nobody has."""
        wanted = EventFilter(types=(SignInsFailed.stored_as,), subs=(self.sub,) if self.sub else ())
        async for looked, rows in past.matching(await past.since(self.since), moment.position, wanted):
            for row in rows:
                event = past.event(row)
                if isinstance(event, SignInsFailed):
                    yield {
                        "position": row.position,
                        "from": event.first_at,
                        "until": event.last_at,
                        "sub": event.sub,
                        "wrong": event.wrong,
                        "not_looked_at": event.not_looked_at,
                    }
            yield looked
