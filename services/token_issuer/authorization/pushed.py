"""Pushed authorization requests (RFC 9126) where they wait for their sign-in.

The table is not made of facts: what is in it may be personal, and is over in a minute.
"""

from dataclasses import dataclass
from datetime import datetime

from shared.log.connections import Connections
from shared.questions import ask

PUSHED = "token_issuer.pushed_requests"

_FIND = """
SELECT p.digest, p.client_id, p.sealed, p.expires_at FROM token_issuer.pushed_requests p WHERE p.digest = $1
"""


@dataclass(frozen=True, slots=True)
class PushedRequest:
    """An authorization request that waits."""

    digest: str
    """Of its reference."""
    client_id: str
    sealed: str
    expires_at: datetime


async def find(pool: Connections, digest: str) -> PushedRequest | None:
    """The request whose reference has this digest."""
    row = await ask(pool.fetchrow(_FIND, digest))
    return None if row is None else PushedRequest(**dict(row))
