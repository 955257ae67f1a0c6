"""All applications, those first that were not used for longest."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from services.ledger.looking_back import Histories
from services.ledger.past import Moment, Past
from services.ledger.reports.report import Row
from services.token_issuer.events import ReferenceTokenIssued
from shared.history import Thing
from shared.log.row import EventFilter, EventRow

_ITSELF: Final = "registry"
_SOURCES: Final = (_ITSELF, "token_issuer", "resource")
_NO_USE: Final = frozenset(
    {
        "token_issuer.AccessTokenRevoked",
        "token_issuer.GrantEnded",
        "token_issuer.ReferenceTokenIssued",
        "token_issuer.ReferenceTokenRevoked",
    }
)
"""Facts about an application's tokens that are nobody's use of it."""


class _Members(msgspec.Struct):
    """What says whose a fact of the issuer is."""

    client_id: str | None = None
    gid: str | None = None
    jti: str | None = None


_members = msgspec.json.Decoder(_Members).decode


@dataclass(frozen=True, slots=True)
class Applications:
    """With their last use, as far back as the log goes."""

    histories: Histories

    columns = ("client_id", "name", "state", "registered_at", "last_used_at", "last_use", "position")

    @property
    def about(self) -> Mapping[str, str]:
        """As of `Report`."""
        return {"report": "applications"}

    async def rows(self, past: Past, moment: Moment) -> AsyncIterator[Row | int]:
        """Those that were never used first of all."""
        uses = _Uses(self.histories.things["application"])
        async for looked, rows in past.matching(0, moment.position, EventFilter(sources=_SOURCES)):
            await asyncio.to_thread(uses.take_in, past, rows)
            yield looked
        for row in uses.told(moment.at):
            yield row


class _Uses:
    """Applications, and which facts are uses of them."""

    def __init__(self, thing: Thing[Any]) -> None:
        self._thing = thing
        self._prefix = f"{thing.decider.category}-"
        self._states: dict[str, Any] = {}
        self._registered: dict[str, EventRow] = {}
        self._used: dict[str, EventRow] = {}
        self._client_of: dict[str, str] = {}
        """By grant, and by reference token."""

    def take_in(self, past: Past, rows: Sequence[EventRow]) -> None:
        """The next facts."""
        for row in rows:
            if row.stream.startswith(self._prefix):
                client_id = row.stream.removeprefix(self._prefix)
                self._registered.setdefault(client_id, row)
                before = self._states.get(client_id, self._thing.decider.initial)
                self._states[client_id] = self._thing.decider.evolve(before, past.event(row))
            elif not row.type.startswith(f"{_ITSELF}."):
                self._note(row)

    def told(self, at: datetime) -> list[Row]:
        """What they come to."""
        found = []
        for client_id, folded in self._states.items():
            state, use = self._thing.show(client_id, folded, at) or {}, self._used.get(client_id)
            found.append(
                {
                    "client_id": client_id,
                    "name": state.get("display_name", ""),
                    "state": _in_a_word(state),
                    "registered_at": self._registered[client_id].recorded_at,
                    "last_used_at": None if use is None else use.recorded_at,
                    "last_use": "" if use is None else use.type,
                    "position": None if use is None else use.position,
                }
            )
        return sorted(found, key=lambda row: (row["position"] or 0, row["client_id"]))

    def _note(self, row: EventRow) -> None:
        members = _members(row.data)
        ids = [one for one in (members.gid, members.jti) if one is not None]
        client_of = self._client_of
        client_id = members.client_id or next((client_of[one] for one in ids if one in client_of), None)
        if client_id is None:
            return
        # The issuer names the application where something begins, and from then on only what has begun.
        if members.gid is not None:
            client_of[members.gid] = client_id
        elif members.jti is not None and row.type == ReferenceTokenIssued.stored_as:
            client_of[members.jti] = client_id
        if row.type not in _NO_USE:
            self._used[client_id] = row


def _in_a_word(state: Mapping[str, object]) -> str:
    if state.get("state") != "trusted":
        return "uninstalled"
    return "enabled" if state["enabled"] else "disabled"
