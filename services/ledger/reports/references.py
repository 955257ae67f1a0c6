"""Reference tokens that were valid, with their last use: those that nobody needs any more can go."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.ledger.looking_back import Histories
from services.ledger.past import Moment, Past
from services.ledger.reports.report import Row
from services.ledger.reports.standing import World


@dataclass(frozen=True, slots=True)
class References:
    """All, or those that were neither made nor used for some days."""

    histories: Histories
    unused_days: int

    columns = ("jti", "kind", "client_id", "sub", "scopes", "issued_at", "expires_at", "last_used_at", "position")

    @property
    def about(self) -> Mapping[str, str]:
        """As of `Report`."""
        return {"report": "references", "unused_days": str(self.unused_days or "")}

    async def rows(self, past: Past, moment: Moment) -> AsyncIterator[Row | int]:
        """Those first that were not used for longest."""
        world = World(self.histories)
        async for looked in world.read(past, moment):
            yield looked
        for row in await asyncio.to_thread(self._sorted, world, moment.at):
            yield row

    def _sorted(self, world: World, at: datetime) -> list[Row]:
        ended, idle_since = world.ended(), at - timedelta(days=self.unused_days)
        found = []
        for jti, token in world.references.items():
            use = world.used.get(jti)
            last = token.issued_at if use is None else use.recorded_at
            if token.expires_at > at and not ended(token) and (not self.unused_days or last < idle_since):
                row = {
                    "jti": jti,
                    "kind": token.kind,
                    "client_id": token.client_id,
                    "sub": token.sub,
                    "scopes": token.scopes,
                    "issued_at": token.issued_at,
                    "expires_at": token.expires_at,
                    "last_used_at": None if use is None else use.recorded_at,
                    "position": token.position,
                }
                found.append((last, row))
        return [row for _, row in sorted(found, key=lambda one: (one[0], one[1]["jti"]))]
