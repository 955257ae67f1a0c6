"""All applications, those first that were not used for longest."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from services.ledger.looking_back import Histories
from services.ledger.past import Moment, Past
from services.ledger.reports.report import Row
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
        thing = self.histories.things["application"]
        prefix = f"{thing.decider.category}-"
        states: dict[str, object] = {}
        registered: dict[str, EventRow] = {}
        used: dict[str, EventRow] = {}
        client_of: dict[str, str] = {}
        async for looked, rows in past.matching(0, moment.position, EventFilter(sources=_SOURCES)):
            for row in rows:
                if row.stream.startswith(prefix):
                    client_id = row.stream.removeprefix(prefix)
                    registered.setdefault(client_id, row)
                    before = states.get(client_id, thing.decider.initial)
                    states[client_id] = thing.decider.evolve(before, past.event(row))
                elif not row.type.startswith(f"{_ITSELF}."):
                    _note(row, client_of, used)
            yield looked
        found = []
        for client_id, folded in states.items():
            state = thing.show(client_id, folded, moment.at) or {}
            use = used.get(client_id)
            found.append(
                {
                    "client_id": client_id,
                    "name": state.get("display_name", ""),
                    "state": _in_a_word(state),
                    "registered_at": registered[client_id].recorded_at,
                    "last_used_at": None if use is None else use.recorded_at,
                    "last_use": "" if use is None else use.type,
                    "position": None if use is None else use.position,
                }
            )
        for row_ in sorted(found, key=lambda one: (one["position"] or 0, one["client_id"])):
            yield row_


def _note(row: EventRow, client_of: dict[str, str], used: dict[str, EventRow]) -> None:
    members = _members(row.data)
    ids = [one for one in (members.gid, members.jti) if one is not None]
    client_id = members.client_id or next((client_of[one] for one in ids if one in client_of), None)
    if client_id is None:
        return
    # The issuer names the application where something begins, and from then on only what has begun.
    if row.type.startswith("token_issuer."):
        client_of.update(dict.fromkeys(ids, client_id))
    if row.type not in _NO_USE:
        used[client_id] = row


def _in_a_word(state: Mapping[str, object]) -> str:
    if state.get("state") != "trusted":
        return "uninstalled"
    return "enabled" if state["enabled"] else "disabled"
