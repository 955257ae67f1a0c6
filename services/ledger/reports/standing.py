"""What stood at a moment: every application, user, consent, grant and reference token, and what was denied.

It reads the log of three services from its beginning, since nothing in it says what stands in the end. What it keeps is
one state for each thing that can still act.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from services.identity.events import ConsentGiven, RolesChanged, UserErased, UserRegistered
from services.ledger.looking_back import Histories
from services.ledger.past import Moment, Past
from services.ledger.verdicts import as_seen, denied_by, numbered
from services.registry.events import ApplicationUninstalled
from services.token_issuer.events import GrantEnded, GrantOpened, ReferenceTokenIssued, ReferenceTokenUsed
from shared.denials import DenialKind, DenialRule
from shared.history import IssuedToken, State, Thing
from shared.log.event import Event, Recorded
from shared.log.row import EventFilter, EventRow
from stagedoor.denial import Denial as Told

SOURCES: Final = ("registry", "identity", "token_issuer")
KINDS: Final = ("application", "user", "consent", "grant")
_SWITCHES: Final = frozenset({DenialKind.CLIENT, DenialKind.SUBJECT})
"""Kinds that are denied only while somebody or something is disabled."""
_GONE: Final = (ApplicationUninstalled, UserErased)
"""Facts that nothing takes back."""


@dataclass(slots=True)
class Standing:
    """One thing."""

    thing: Thing[Any]
    state: Any
    first: EventRow
    """Where it began; of a consent, where it did after it was withdrawn."""


@dataclass(slots=True)
class World:
    """All that stands."""

    histories: Histories
    things: dict[str, Standing] = field(default_factory=dict)
    """By stream."""
    references: dict[str, IssuedToken] = field(default_factory=dict)
    roles_since: dict[str, EventRow] = field(default_factory=dict)
    """Where users got the roles that they have, by `sub`."""
    used: dict[str, EventRow] = field(default_factory=dict)
    """The last use of each reference token, as far as the log says."""
    gone: set[str] = field(default_factory=set)
    """Streams of applications and users that nothing brings back."""
    _denials: list[Told] = field(default_factory=list)
    """But for those that last while something is disabled."""
    _categories: dict[str, Thing[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in KINDS:
            thing = self.histories.things[kind]
            self._categories[thing.decider.category] = thing

    async def read(self, past: Past, moment: Moment) -> AsyncIterator[int]:
        """Look at everything up to a moment; yields how far it has come."""
        async for looked, rows in past.matching(0, moment.position, EventFilter(sources=SOURCES)):
            await asyncio.to_thread(self._take_in, past, rows)
            yield looked

    def shown(self, kind: str, at: datetime) -> Mapping[str, tuple[State, EventRow]]:
        """Everything of a kind that there was, by id, with where it began."""
        thing = self.histories.things[kind]
        prefix = f"{thing.decider.category}-"
        found = {}
        for stream, standing in self.things.items():
            if stream.startswith(prefix):
                thing_id = stream.removeprefix(prefix)
                state = thing.show(thing_id, standing.state, at)
                if state is not None:
                    found[thing_id] = (state, standing.first)
        return found

    def ended(self) -> "Ended":
        """What has been denied for good."""
        return Ended(self._denials)

    def _take_in(self, past: Past, rows: Sequence[EventRow]) -> None:
        for row in rows:
            self._take(row, past.event(row))

    def _take(self, row: EventRow, event: Event) -> None:
        for denial in event.denies():
            if denial.rule is DenialRule.CUT_OFF or denial.kind not in _SWITCHES or isinstance(event, _GONE):
                self._denials.append(numbered(len(self._denials) + 1, row.position, denial))
        if isinstance(event, _GONE):
            self.gone.add(row.stream)
        match event:
            case ReferenceTokenIssued():
                recorded = _recorded(row, event)
                token = self.histories.tokens.issued((recorded,), event.jti)
                if token is not None:
                    self.references[event.jti] = token
            case ReferenceTokenUsed():
                self.used[event.jti] = row
            case GrantEnded():
                self.things.pop(row.stream, None)
            case UserRegistered() | RolesChanged():
                self.roles_since[event.sub] = row
                self._evolve(row, event)
            case _:
                self._evolve(row, event)

    def _evolve(self, row: EventRow, event: Event) -> None:
        thing = self._categories.get(row.stream.partition("-")[0])
        if thing is None:
            return
        standing = self.things.get(row.stream)
        if standing is None:
            if thing.kind == "grant" and not isinstance(event, GrantOpened):
                return  # its beginning was pruned, or it has ended
            standing = self.things[row.stream] = Standing(thing, thing.decider.initial, row)
        if isinstance(event, ConsentGiven) and standing.state == thing.decider.initial:
            standing.first = row
        standing.state = thing.decider.evolve(standing.state, event)


class Ended:
    """Tells what was ended for good."""

    def __init__(self, denials: list[Told]) -> None:
        self._by_id: dict[str, list[Told]] = {}
        for denial in denials:
            self._by_id.setdefault(denial.id, []).append(denial)

    def __call__(self, token: IssuedToken) -> bool:
        """Whether something stands against it that nothing takes back."""
        ids = (token.jti, token.gid, token.sid, token.sub, token.client_id, f"{token.sub} {token.client_id}")
        meeting = [denial for one in ids if one is not None for denial in self._by_id.get(one, ())]
        return bool(meeting) and denied_by(meeting, as_seen(token), token.key) is not None


def _recorded(row: EventRow, event: Event) -> Recorded:
    return Recorded(
        event=event,
        stream=row.stream,
        version=row.version,
        position=row.position,
        epoch=row.epoch,
        recorded_at=row.recorded_at,
        actor=row.actor,
        command_id=row.command_id,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
    )
