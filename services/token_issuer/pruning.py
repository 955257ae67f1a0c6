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
    devices     what they asked for, when nobody can allow it any more

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


def _rows(table: str, key: str, dead: str, *, found_in: str = "", unless: str = "false") -> str:
    """Lets go of a page of rows that are `dead`: SQL about `t`, a row of `found_in`, else of the table itself.

    A row that is `unless` (SQL about its key) is still needed stays. $1 is where the page begins, $2 how long it is.
    """
    return f"""
WITH page AS (
    SELECT t.{key}, {dead} AS dead FROM token_issuer.{found_in or table} t WHERE t.{key} > $1 ORDER BY t.{key} LIMIT $2
), free AS (
    SELECT r.{key} FROM token_issuer.{table} r
     WHERE r.{key} IN (SELECT p.{key} FROM page p WHERE p.dead) AND NOT ({unless}) FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM token_issuer.{table} r USING free f WHERE r.{key} = f.{key} RETURNING r.{key}
)
SELECT (SELECT max(p.{key}) FROM page p) AS last, (SELECT count(*) FROM gone) AS gone
"""  # noqa: S608  (what is put in is written below)


_EXPIRED: Final = "t.expires_at < clock_timestamp() - $3::interval"
_GRANTS = _rows(
    "grants",
    "gid",
    """greatest(t.code_expires_at, t.tokens_end_at,
             CASE WHEN t.ended IS NULL AND t.refresh_digest IS NOT NULL THEN t.refresh_expires_at END)
        < clock_timestamp() - $3::interval
    AND NOT EXISTS (SELECT FROM token_issuer.sessions s
                     WHERE s.sid = t.sid AND NOT s.ended AND s.expires_at > clock_timestamp())""",
)
_SESSIONS = _rows("sessions", "sid", _EXPIRED)
_PUSHED = _rows("pushed_requests", "digest", _EXPIRED)
_DEVICES = _rows("device_requests", "gid", _EXPIRED)
# Two steps, so that each holds rows of one table: an append that revokes a token writes to both.
_NOTES = _rows("reference_notes", "jti", _EXPIRED, found_in="reference_tokens")
_REFERENCES = _rows(
    "reference_tokens",
    "jti",
    _EXPIRED,
    unless="EXISTS (SELECT FROM token_issuer.reference_notes n WHERE n.jti = r.jti)",
)

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

_STEPS: Final = (
    ("grants", _GRANTS, (KEPT,)),
    ("sessions", _SESSIONS, (KEPT,)),
    ("reference_notes", _NOTES, (KEPT,)),
    ("reference_tokens", _REFERENCES, (KEPT,)),
    ("denials", _DENIED_SESSIONS, ()),
    ("denials", _CUT_OFFS, ()),
    ("logout_deliveries", _LOGOUTS, (GIVEN_UP_KEPT,)),
    ("pushed_requests", _PUSHED, (_LATE,)),
    ("device_requests", _DEVICES, (_LATE,)),
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
