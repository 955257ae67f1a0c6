"""What devices ask for (RFC 8628), while it waits for a person.

The table is not made of facts: what is in it may be personal, it is over in minutes, and how often a device asks is
nobody's business later. So asking again and again appends nothing, and is one statement.
"""

from datetime import datetime

from msgspec import Struct

from shared.log.connections import Connections
from shared.questions import ask

DEVICES = "token_issuer.device_requests"
INTERVAL_SECONDS = 5
"""Between two questions of a device; and by so much longer after each that came too soon (sections 3.2 and 3.5)."""

_BY_USER_CODE = """
SELECT d.gid, d.digest, d.client_id, d.sealed, d.expires_at FROM token_issuer.device_requests d
 WHERE d.user_code = $1 AND d.expires_at > $2 AND NOT d.refused LIMIT 2
"""
_MAY_BE_ALLOWED = """
SELECT EXISTS (
    SELECT FROM token_issuer.device_requests d
     WHERE d.gid = $1 AND d.digest = $2 AND d.expires_at > $3 AND NOT d.refused
       AND NOT EXISTS (SELECT FROM token_issuer.denials n WHERE n.kind = 'client' AND n.id = d.client_id
                          AND n.rule = 'cut_off' AND n.position >= d.born))
"""
_LEEWAY_SECONDS = 1
"""By which a question may come too soon: the way to here is not always equally long."""
_TOO_SOON = f"coalesce($9 < d.polled_at + make_interval(secs => d.interval_seconds - {_LEEWAY_SECONDS}), false)"
_THIS = "d.gid = ($2::text[])[1] AND d.client_id = ($1::text[])[1] AND d.digest = $8"


def polling(moment: str, answers: str) -> str:
    """SQL that answers one question (`moment`, `answers`: its parts) and counts that a device asked, all at once.

    $1 to $7 are the question's, $8 is the digest of the device code, $9 the time.
    """
    return f"""
WITH polled AS (
    UPDATE token_issuer.device_requests d
       SET polled_at = $9, hasty = {_TOO_SOON},
           interval_seconds = d.interval_seconds + CASE WHEN {_TOO_SOON} THEN {INTERVAL_SECONDS} ELSE 0 END
     WHERE {_THIS} AND NOT d.refused AND d.expires_at > $9
    RETURNING d.hasty, d.interval_seconds
), {moment}
SELECT k.*, d.expires_at, d.refused, coalesce(p.hasty, false) AS hasty,
       coalesce(p.interval_seconds, d.interval_seconds) AS interval_seconds
  FROM ({answers}) k
  LEFT JOIN token_issuer.device_requests d ON {_THIS}
  LEFT JOIN polled p ON true
"""  # noqa: S608  (put together from constants)


class Polled(Struct, frozen=True):
    """How a request stands that a device asks about."""

    expires_at: datetime
    refused: bool
    hasty: bool
    """The device asked too soon."""
    interval_seconds: int
    """For how long it has to wait from now on."""


class WaitingRequest(Struct, frozen=True):
    """What a device asked for."""

    gid: str
    digest: str
    """Of the device code."""
    client_id: str
    sealed: str
    """The parameters."""
    expires_at: datetime


async def find(pool: Connections, user_code: str, now: datetime) -> WaitingRequest | None:
    """The one that waits under the digest of a user code. None too where two do: nobody could tell which is meant."""
    rows = await ask(pool.fetch(_BY_USER_CODE, user_code, now))
    return WaitingRequest(**dict(rows[0])) if len(rows) == 1 else None


async def may_be_allowed(pool: Connections, gid: str, digest: str, now: datetime) -> bool:
    """Whether it still waits, and whatever its client was given before it is not denied, as far as is known."""
    return await ask(pool.fetchval(_MAY_BE_ALLOWED, gid, digest, now))
