"""Who may ask about tokens of which audience."""

import asyncio
import time
from collections.abc import Mapping

import msgspec

from services.token_issuer.scopes import Places
from shared.errors import Kind, Refusal
from shared.log.append import LogUnavailable
from shared.log.connections import Connections
from shared.questions import ask

_CALLERS = """
SELECT identifier, (settings -> 'callers')::text AS callers FROM token_issuer.resources
"""

_KEPT_SECONDS = 1.0
"""How long an answer is used again: a caller that is taken off a resource may ask for so long."""
_OUT_OF_REACH_SECONDS = 30.0
"""The same while the database cannot be asked."""


class AudienceCallers:
    """The callers, as their certificates name them, that each resource admits, and those of the platform's own."""

    def __init__(self, pool: Connections, places: Places) -> None:
        self._pool = pool
        self._own: Mapping[str, frozenset[str]] = {
            places.management: frozenset({f"service/{name}" for name in ("registry", "identity", "ledger")}),
            places.userinfo: frozenset({"service/identity"}),
        }
        self._named: dict[str, frozenset[str]] = {}
        self._known_at = float("-inf")
        self._tried_at = float("-inf")
        self._asking = asyncio.Lock()

    async def require(self, caller: str, audience: str) -> None:
        """Refuse if this caller may not ask about tokens of this audience, or if there is no such audience."""
        if caller in self._own.get(audience, ()):
            return
        async with self._asking:
            await self._ask()
        if caller not in self._named.get(audience, ()):
            raise Refusal(
                Kind.FORBIDDEN, "audience_not_allowed", "the caller may not ask about tokens of this audience"
            )

    async def _ask(self) -> None:
        now = time.monotonic()
        if now - self._tried_at > _KEPT_SECONDS:
            self._tried_at = now
            try:
                rows = await ask(self._pool.fetch(_CALLERS))
            except LogUnavailable:
                rows = None
            if rows is not None:
                self._named = {row["identifier"]: _names(row["callers"]) for row in rows}
                self._known_at = now
        if now - self._known_at > _OUT_OF_REACH_SECONDS:
            raise LogUnavailable


def _names(callers: str | None) -> frozenset[str]:
    return frozenset(msgspec.json.decode(callers or "[]", type=list[str]))
