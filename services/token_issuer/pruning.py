"""Lets go of rows that no request can need any more, so that the tables do not grow with what was.

    grants      a week after the last thing that they gave has expired, or could have been asked for; not while their
                session goes on, since it is known by them who has to be told of its end
    sessions    a week after their absolute end
    references  a week after they have expired; first what is noted of one, then the token itself
    denials     of a session, when neither it nor a grant of it is left; cut-offs for the sessions of a user, when no
                grant that is left was born before
    logouts     that an application could not be told of, a month after they were given up; and those of which it is not
                to be told any more
    pushed      authorization requests, when no sign-in can begin with them any more

All of these can be found in the log; what stands here is for decisions, and an expired code, refresh token, session or
reference token is refused whether it is known or not. Denials of clients and subjects stay: there is one row for each
at most, and what they match may live for ever. Rows that somebody is writing are left for the next time.
"""

import asyncio
import random
from datetime import timedelta
from typing import Final

import asyncpg
from prometheus_client import Counter, Gauge

from shared.log.append import LogUnavailable
from shared.log.connections import Connections
from shared.questions import OUT_OF_REACH, ask
from shared.telemetry import logger

_log = logger(__name__)
_PRUNED = Counter("stagedoor_issuer_pruned_rows", "Rows that were let go of.", ["table"])
_FAILURES = Counter("stagedoor_issuer_pruning_failures", "Times that this failed.")
_PRUNED_AT = Gauge("stagedoor_issuer_pruning_last_success_seconds", "When this replica last did it (Unix time).")

KEPT: Final = timedelta(days=7)
"""How long something is kept after its end: for people who look at what they had allowed, and for late clocks."""
GIVEN_UP_KEPT: Final = timedelta(days=30)
_LATE: Final = timedelta(minutes=10)
"""By how much the clocks of replicas differ at most."""
_PAGE: Final = 1000
_PAUSE_SECONDS: Final = 0.05
_FIRST_SECONDS: Final = 60.0
_FAILED: Final = (LogUnavailable, *OUT_OF_REACH, asyncpg.PostgresError)

_GRANTS = """
WITH page AS (
    SELECT g.gid,
           greatest(g.code_expires_at, g.tokens_end_at,
                    CASE WHEN g.ended IS NULL AND g.refresh_digest IS NOT NULL THEN g.refresh_expires_at END)
               < clock_timestamp() - $3::interval
           AND NOT EXISTS (SELECT FROM token_issuer.sessions s
                            WHERE s.sid = g.sid AND NOT s.ended AND s.expires_at > clock_timestamp()) AS dead
      FROM token_issuer.grants g WHERE g.gid > $1 ORDER BY g.gid LIMIT $2
), free AS (
    SELECT g.gid FROM token_issuer.grants g WHERE g.gid IN (SELECT p.gid FROM page p WHERE p.dead)
       FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM token_issuer.grants g USING free f WHERE g.gid = f.gid RETURNING g.gid
)
SELECT (SELECT max(p.gid) FROM page p) AS last, (SELECT count(*) FROM gone) AS gone
"""

_SESSIONS = """
WITH page AS (
    SELECT s.sid, s.expires_at < clock_timestamp() - $3::interval AS dead
      FROM token_issuer.sessions s WHERE s.sid > $1 ORDER BY s.sid LIMIT $2
), free AS (
    SELECT s.sid FROM token_issuer.sessions s WHERE s.sid IN (SELECT p.sid FROM page p WHERE p.dead)
       FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM token_issuer.sessions s USING free f WHERE s.sid = f.sid RETURNING s.sid
)
SELECT (SELECT max(p.sid) FROM page p) AS last, (SELECT count(*) FROM gone) AS gone
"""

_DENIED_SESSIONS = """
WITH page AS (
    SELECT d.id FROM token_issuer.denials d WHERE d.kind = 'session' AND d.id > $1 ORDER BY d.id LIMIT $2
), free AS (
    SELECT d.kind, d.id, d.rule, d.except_id FROM token_issuer.denials d
     WHERE d.kind = 'session' AND d.id IN (SELECT p.id FROM page p)
       AND NOT EXISTS (SELECT FROM token_issuer.sessions s WHERE s.sid = d.id)
       AND NOT EXISTS (SELECT FROM token_issuer.grants g WHERE g.sid = d.id)
       FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM token_issuer.denials d USING free f
     WHERE (d.kind, d.id, d.rule, d.except_id) = (f.kind, f.id, f.rule, f.except_id) RETURNING d.id
)
SELECT (SELECT max(p.id) FROM page p) AS last, (SELECT count(*) FROM gone) AS gone
"""

_CUT_OFFS = """
WITH page AS (
    SELECT d.id FROM token_issuer.denials d WHERE d.kind = 'subject_sessions' AND d.id > $1
     GROUP BY d.id ORDER BY d.id LIMIT $2
), free AS (
    SELECT d.kind, d.id, d.rule, d.except_id FROM token_issuer.denials d
     WHERE d.kind = 'subject_sessions' AND d.rule = 'cut_off' AND d.id IN (SELECT p.id FROM page p)
       AND NOT EXISTS (SELECT FROM token_issuer.grants g WHERE g.sub = d.id AND g.born <= d.position)
       FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM token_issuer.denials d USING free f
     WHERE (d.kind, d.id, d.rule, d.except_id) = (f.kind, f.id, f.rule, f.except_id) RETURNING d.id
)
SELECT (SELECT max(p.id) FROM page p) AS last, (SELECT count(*) FROM gone) AS gone
"""

_LOGOUTS = """
WITH gone AS (
    DELETE FROM token_issuer.logout_deliveries WHERE delivery_id IN (
        SELECT d.delivery_id FROM token_issuer.logout_deliveries d
         WHERE $1::text IS NOT NULL AND (
               (d.due_at IS NULL AND d.failed_at < clock_timestamp() - $3::interval)
               OR NOT EXISTS (SELECT FROM token_issuer.applications a WHERE a.client_id = d.client_id
                                 AND NOT a.uninstalled AND a.settings ->> 'backchannel_logout_uri' IS NOT NULL))
         LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING delivery_id
)
SELECT CASE WHEN count(*) = $2 THEN '' END AS last, count(*) AS gone FROM gone
"""

_PUSHED = """
WITH page AS (
    SELECT p.digest, p.expires_at < clock_timestamp() - $3::interval AS dead
      FROM token_issuer.pushed_requests p WHERE p.digest > $1 ORDER BY p.digest LIMIT $2
), free AS (
    SELECT p.digest FROM token_issuer.pushed_requests p WHERE p.digest IN (SELECT g.digest FROM page g WHERE g.dead)
       FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM token_issuer.pushed_requests p USING free f WHERE p.digest = f.digest RETURNING p.digest
)
SELECT (SELECT max(p.digest) FROM page p) AS last, (SELECT count(*) FROM gone) AS gone
"""

# Two steps, so that each holds rows of one table: an append that revokes a token writes to both.
_NOTES = """
WITH page AS (
    SELECT r.jti, r.expires_at < clock_timestamp() - $3::interval AS dead
      FROM token_issuer.reference_tokens r WHERE r.jti > $1 ORDER BY r.jti LIMIT $2
), free AS (
    SELECT n.jti FROM token_issuer.reference_notes n WHERE n.jti IN (SELECT p.jti FROM page p WHERE p.dead)
       FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM token_issuer.reference_notes n USING free f WHERE n.jti = f.jti RETURNING n.jti
)
SELECT (SELECT max(p.jti) FROM page p) AS last, (SELECT count(*) FROM gone) AS gone
"""

_REFERENCES = """
WITH page AS (
    SELECT r.jti, r.expires_at < clock_timestamp() - $3::interval AS dead
      FROM token_issuer.reference_tokens r WHERE r.jti > $1 ORDER BY r.jti LIMIT $2
), free AS (
    SELECT r.jti FROM token_issuer.reference_tokens r WHERE r.jti IN (SELECT p.jti FROM page p WHERE p.dead)
       AND NOT EXISTS (SELECT FROM token_issuer.reference_notes n WHERE n.jti = r.jti)
       FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM token_issuer.reference_tokens r USING free f WHERE r.jti = f.jti RETURNING r.jti
)
SELECT (SELECT max(p.jti) FROM page p) AS last, (SELECT count(*) FROM gone) AS gone
"""

_STEPS: Final = (
    ("grants", _GRANTS, (KEPT,)),
    ("sessions", _SESSIONS, (KEPT,)),
    ("reference_notes", _NOTES, (KEPT,)),
    ("reference_tokens", _REFERENCES, (KEPT,)),
    ("denials", _DENIED_SESSIONS, ()),
    ("denials", _CUT_OFFS, ()),
    ("logout_deliveries", _LOGOUTS, (GIVEN_UP_KEPT,)),
    ("pushed_requests", _PUSHED, (_LATE,)),
)
"""In this order: a denial goes after what it stood against, and what is noted of a token before the token."""


async def prune_repeatedly(pool: Connections, every_seconds: float) -> None:
    """Do it about so often, for ever, whatever happens. Every replica does: it is little, and none is in the way."""
    wait = min(_FIRST_SECONDS, every_seconds)
    while True:
        await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311  (spreads replicas, no secret)
        try:
            gone = await prune(pool)
        except _FAILED as failure:
            _FAILURES.inc()
            _log.warning("pruning_failed", error=type(failure).__name__)
        else:
            _PRUNED_AT.set_to_current_time()
            if gone:
                _log.info("pruned", rows=gone)
        wait = every_seconds


async def prune(pool: Connections) -> int:
    """Go through the tables once, a page at a time; answers how many rows went."""
    in_all = 0
    for table, statement, kept in _STEPS:
        last: str | None = ""
        while last is not None:
            page = await ask(pool.fetchrow(statement, last, _PAGE, *kept))
            last = page["last"]
            if page["gone"]:
                _PRUNED.labels(table).inc(page["gone"])
                in_all += page["gone"]
            await asyncio.sleep(_PAUSE_SECONDS)
    return in_all
