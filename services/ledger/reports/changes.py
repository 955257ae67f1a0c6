"""Who changed an application, and what."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

from services.ledger.looking_back import Histories
from services.ledger.past import Moment, Past
from services.ledger.reports.report import Row
from shared.errors import Kind, Refusal
from shared.log.event import Recorded, Stamp


@dataclass(frozen=True, slots=True)
class Changes:
    """Of one application, from its registration."""

    histories: Histories
    client_id: str

    columns = ("position", "at", "actor", "what", "member", "before", "after", "correlation_id")

    @property
    def about(self) -> Mapping[str, str]:
        """As of `Report`."""
        return {"report": "changes", "client_id": self.client_id}

    async def rows(self, past: Past, moment: Moment) -> AsyncIterator[Row | int]:
        """In order, one for each member that a fact changed."""
        thing = self.histories.things["application"]
        told = await past.stream(thing.stream(self.client_id), moment)
        if not told.then:
            raise Refusal(Kind.NOT_FOUND, "application_not_found", "there was no such application")
        state, before = thing.decider.initial, None
        for recorded in told.then:
            if isinstance(recorded.recorded_at, Stamp):
                raise TypeError("what is told of the past is in the log")
            state = thing.decider.evolve(state, recorded.event)
            after = thing.show(self.client_id, state, recorded.recorded_at)
            for row in _rows(recorded, before, after):
                yield row
            before = after


def _rows(recorded: Recorded, before: Mapping[str, object] | None, after: Mapping[str, object] | None) -> Iterator[Row]:
    row = {
        "position": recorded.position,
        "at": recorded.recorded_at,
        "actor": recorded.actor,
        "what": recorded.event.stored_as,
        "member": "",
        "before": None,
        "after": None,
        "correlation_id": recorded.correlation_id,
    }
    old, new = before or {}, after or {}
    members = sorted(old.keys() | new.keys()) if old and new.get("state") == old.get("state") else ["state"]
    changed = [name for name in members if old.get(name) != new.get(name)]
    for name in changed:
        yield {**row, "member": name, "before": old.get(name), "after": new.get(name)}
    if not changed:
        yield row
    reason = getattr(recorded.event, "reason", "")
    if reason:
        yield {**row, "member": "reason", "after": reason}
