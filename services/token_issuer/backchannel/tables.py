"""Who has still to be told of which logout: kept in a table beside the facts, and asked about here.

`logouts` has the sessions that ended, until it is known who is told; `logout_deliveries` has one row for each
application that is, until it has answered. Nothing of it is a fact (decision 75). Times are the database's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.ids import new_id
from shared.log.connections import Connections
from shared.questions import ask

_NEWEST = "SELECT max(l.position) FROM token_issuer.logouts l"

# An application is told if it redeemed a code of the session: before that it had signed nobody in. The grants of a
# session are complete when its end is known, because the end is a fence to whatever it would have given later.
_PLAN = """
WITH ended AS (
    DELETE FROM token_issuer.logouts WHERE position IN (
        SELECT l.position FROM token_issuer.logouts l WHERE l.position <= $1
         ORDER BY l.position LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING position, sub, sid, kept_sid
), told AS (
    SELECT e.position, g.client_id, g.sub, g.sid
      FROM ended e JOIN token_issuer.grants g ON g.sid = e.sid AND g.sub = e.sub AND g.jti IS NOT NULL
    UNION
    SELECT e.position, g.client_id, g.sub, g.sid
      FROM ended e
      JOIN token_issuer.grants g ON g.sub = e.sub AND g.jti IS NOT NULL
                                AND g.born < e.position AND g.sid IS DISTINCT FROM e.kept_sid
      JOIN token_issuer.sessions s ON s.sid = g.sid AND NOT s.ended AND s.expires_at > clock_timestamp()
     WHERE e.sid IS NULL
), planned AS (
    INSERT INTO token_issuer.logout_deliveries (client_id, sub, sid, position, due_at)
    SELECT t.client_id, t.sub, t.sid, t.position, clock_timestamp()
      FROM told t JOIN token_issuer.applications a ON a.client_id = t.client_id
     WHERE NOT a.uninstalled AND a.settings ->> 'backchannel_logout_uri' IS NOT NULL
     ORDER BY t.position, t.client_id, t.sid
)
SELECT count(*) FROM ended
"""

# What is taken is not due again before $4, so that nobody else takes it; who took it is killed at worst.
_TAKE = """
WITH due AS (
    SELECT d.delivery_id, a.settings ->> 'backchannel_logout_uri' AS uri,
           coalesce(a.settings ->> 'id_token_signed_response_alg', 'RS256') AS algorithm
      FROM token_issuer.applications a
      LEFT JOIN unnest($1::text[], $2::integer[]) AS busy (client_id, deliveries) ON busy.client_id = a.client_id
     CROSS JOIN LATERAL (
        SELECT t.delivery_id, t.due_at FROM token_issuer.logout_deliveries t
         WHERE t.client_id = a.client_id AND t.due_at <= clock_timestamp()
         ORDER BY t.due_at LIMIT greatest(0, $3 - coalesce(busy.deliveries, 0)) FOR UPDATE SKIP LOCKED) d
     WHERE a.enabled AND NOT a.uninstalled AND a.settings ->> 'backchannel_logout_uri' IS NOT NULL
     ORDER BY d.due_at LIMIT $5
)
UPDATE token_issuer.logout_deliveries d SET due_at = clock_timestamp() + $4::interval, taken_by = $6
  FROM due WHERE d.delivery_id = due.delivery_id
RETURNING d.delivery_id, d.client_id, d.sub, d.sid, d.attempts, due.uri, due.algorithm
"""

_DELIVERED = "DELETE FROM token_issuer.logout_deliveries WHERE delivery_id = $1"

_FAILED = """
UPDATE token_issuer.logout_deliveries
   SET attempts = attempts + 1, failure = $3, failed_at = clock_timestamp(), taken_by = NULL,
       due_at = clock_timestamp() + $4::interval
 WHERE delivery_id = $1 AND taken_by = $2
"""

_LISTED = """
SELECT d.delivery_id, d.client_id, d.sub, d.sid, d.position, d.attempts, d.failure, d.failed_at, d.due_at
  FROM token_issuer.logout_deliveries d
 WHERE ($1::text IS NULL OR d.client_id = $1) AND (NOT $2 OR d.due_at IS NULL)
   AND ($3::bigint IS NULL OR d.delivery_id < $3)
 ORDER BY d.delivery_id DESC LIMIT $4
"""

_COUNTED = """
SELECT count(*) FILTER (WHERE due_at IS NOT NULL) AS waiting, count(*) FILTER (WHERE due_at IS NULL) AS given_up
  FROM token_issuer.logout_deliveries
"""

# What somebody is sending right now is left to them.
_AGAIN = """
WITH again AS (
    UPDATE token_issuer.logout_deliveries SET attempts = 0, due_at = clock_timestamp(), taken_by = NULL
     WHERE (taken_by IS NULL OR due_at <= clock_timestamp())
       AND ($1::bigint[] IS NULL OR delivery_id = ANY ($1)) AND ($2::text IS NULL OR client_id = $2)
    RETURNING delivery_id
)
SELECT count(*) FROM again
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A logout that an application has to be told of now."""

    delivery_id: int
    client_id: str
    sub: str
    sid: str
    attempts: int
    """That failed."""
    uri: str
    algorithm: str
    """What the application's tokens are signed with."""
    taken_by: str
    """Names this attempt."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A logout that an application has not been told of yet."""

    delivery_id: int
    client_id: str
    sub: str
    sid: str
    position: int
    """Of the fact that ended the session."""
    attempts: int
    failure: str | None
    """Code of the last one."""
    failed_at: datetime | None
    due_at: datetime | None
    """When it is tried next; None: it was given up."""


class LogoutQuestions:
    """Each is one statement; `LogUnavailable` where the tables are out of reach."""

    def __init__(self, pool: Connections) -> None:
        self._pool = pool

    async def newest(self) -> int | None:
        """Position of the last fact that ended sessions of which nobody is told yet; None: there is none."""
        position: int | None = await ask(self._pool.fetchval(_NEWEST))
        return position

    async def plan(self, up_to: int, limit: int) -> int:
        """Find who is told of what ended up to a position; answers of how many facts that was."""
        planned: int = await ask(self._pool.fetchval(_PLAN, up_to, limit))
        return planned

    async def take(self, busy: Mapping[str, int], *, limit: int, each: int, lease: timedelta) -> Sequence[Due]:
        """Some that are due, nobody else's for `lease`; with what it is `busy` with, `each` of one application at most.

        An application that is disabled is told when it is enabled.
        """
        taken_by = new_id()
        rows = await ask(self._pool.fetch(_TAKE, list(busy), list(busy.values()), each, lease, limit, taken_by))
        return [Due(taken_by=taken_by, **row) for row in rows]

    async def delivered(self, due: Due) -> None:
        """The application has been told."""
        await ask(self._pool.execute(_DELIVERED, due.delivery_id))

    async def failed(self, due: Due, failure: str, wait: timedelta | None) -> None:
        """It has not; `wait` until the next attempt, None: there is none. Whoever was too late changes nothing."""
        await ask(self._pool.execute(_FAILED, due.delivery_id, due.taken_by, failure, wait))

    async def counted(self) -> tuple[int, int]:
        """How many wait for an attempt, and how many were given up."""
        found = await ask(self._pool.fetchrow(_COUNTED))
        return found["waiting"], found["given_up"]

    async def undelivered(
        self, client_id: str | None, *, given_up: bool, before: int | None, limit: int
    ) -> list[Undelivered]:
        """Those of one application or of all, newest first, from before an id on; or only those given up."""
        rows = await ask(self._pool.fetch(_LISTED, client_id, given_up, before, limit))
        return [_undelivered(row) for row in rows]

    async def again(self, delivery_ids: Sequence[int] | None, client_id: str | None) -> int:
        """Let those be tried anew, from the beginning; None: whichever. Answers how many that were."""
        begun: int = await ask(self._pool.fetchval(_AGAIN, delivery_ids, client_id))
        return begun


def _undelivered(row: Mapping[str, Any]) -> Undelivered:
    return Undelivered(**row)
