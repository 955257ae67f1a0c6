"""Reference tokens in the issuer's own tables: what they learn of facts, and the questions they answer."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.registry.events import ApplicationSettings, ResourceSettings
from services.token_issuer.events import ReferenceKind, ReferenceTokenIssued, ReferenceTokenRevoked
from services.token_issuer.views import Resource
from shared.denials import DenialKind
from shared.log.connections import Connections
from shared.log.event import Patch, Put, Recorded, RowChange
from shared.questions import Together, ask

REFERENCES = "token_issuer.reference_tokens"
NOTES = "token_issuer.reference_notes"


def project(recorded: Recorded) -> Iterable[RowChange]:
    """The rows that change with a fact about a reference token."""
    event = recorded.event
    match event:
        case ReferenceTokenIssued():
            row = {
                "jti": event.jti,
                "digest": event.digest,
                "kind": event.kind.value,
                "client_id": event.client_id,
                "sub": event.sub,
                "scopes": list(event.scopes),
                "audiences": list(event.audiences),
                "expires_at": event.expires_at,
                "revoked": None,
                "position": recorded.position,
                "epoch": recorded.epoch,
                "issued_at": recorded.recorded_at,
            }
            return (Put(REFERENCES, row),)
        case ReferenceTokenRevoked():
            return (Patch(REFERENCES, {"jti": event.jti}, {"revoked": event.reason.value}),)
        case _:
            return ()


@dataclass(frozen=True, slots=True)
class KnownReference:
    """A reference token as its facts have it."""

    jti: str
    kind: ReferenceKind
    client_id: str
    sub: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    expires_at: datetime
    position: int
    """Of the event that issued it."""
    epoch: int
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class FoundReference:
    """A reference token that was looked up, and what ended it for good before."""

    reference: KnownReference
    revoked: bool
    cut_off: DenialKind | None
    """Of a denial that it was issued before."""


@dataclass(frozen=True, slots=True)
class ListedReference:
    """A reference token in a list, for people."""

    reference: KnownReference
    label: str
    """Empty where its owner's name for it is gone: of tokens that were taken back none is kept."""
    last_used_at: datetime | None
    state: str
    """active | suspended (while the application or the user is disabled) | revoked | ended | expired"""


@dataclass(frozen=True, slots=True)
class NamedApplication:
    """An application as a person knows it."""

    client_id: str
    settings: ApplicationSettings
    enabled: bool


_COLUMNS = "r.jti, r.kind, r.client_id, r.sub, r.scopes, r.audiences, r.expires_at, r.position, r.epoch, r.issued_at"

_BY_DIGEST = f"""
SELECT {_COLUMNS}, r.revoked, (
    SELECT d.kind
      FROM (VALUES ('client', r.client_id), ('client_references', r.client_id), ('subject', r.sub),
                   ('subject_client', r.sub || ' ' || r.client_id)) AS party (kind, id)
      JOIN token_issuer.denials d ON d.kind = party.kind AND d.id = party.id
     WHERE d.rule = 'cut_off' AND d.position >= r.position LIMIT 1) AS cut_off
  FROM unnest($1::text[]) WITH ORDINALITY q (digest, place)
  LEFT JOIN LATERAL (SELECT * FROM token_issuer.reference_tokens t WHERE t.digest = q.digest LIMIT 1) r ON true
 ORDER BY q.place
"""  # noqa: S608  (the only thing put in is a constant)

# $3 is the time.
_LISTED = f"""
SELECT * FROM (
    SELECT {_COLUMNS}, coalesce(n.label, '') AS label, n.last_used_at,
           CASE WHEN r.revoked IS NOT NULL THEN 'revoked'
                WHEN r.expires_at <= $3 THEN 'expired'
                WHEN coalesce(a.uninstalled, true) OR 'cut_off' = ANY (d.rules) THEN 'ended'
                WHEN r.sub <> r.client_id
                     AND NOT EXISTS (SELECT FROM token_issuer.users u WHERE u.sub = r.sub) THEN 'ended'  -- erased
                WHEN d.rules IS NOT NULL THEN 'suspended'
                ELSE 'active' END AS state
      FROM token_issuer.reference_tokens r
      LEFT JOIN token_issuer.reference_notes n ON n.jti = r.jti
      LEFT JOIN token_issuer.applications a ON a.client_id = r.client_id
      LEFT JOIN LATERAL (
        SELECT array_agg(d.rule) AS rules
          FROM (VALUES ('client', r.client_id), ('client_references', r.client_id), ('subject', r.sub),
                       ('subject_client', r.sub || ' ' || r.client_id)) AS party (kind, id)
          JOIN token_issuer.denials d ON d.kind = party.kind AND d.id = party.id
         WHERE d.rule = 'standing' OR d.position >= r.position) d ON true
     WHERE ($1::text IS NULL OR r.sub = $1) AND ($2::text IS NULL OR r.client_id = $2)
       AND ($4::bigint IS NULL OR r.position < $4)
) listed
"""  # noqa: S608  (the only thing put in is a constant)
_PAGE = f"{_LISTED} ORDER BY position DESC LIMIT $5"
_ALIVE = f"{_LISTED} WHERE state IN ('active', 'suspended') ORDER BY position DESC LIMIT $5"
_COUNT = f"SELECT count(*) FROM ({_ALIVE}) alive"  # noqa: S608  (put together from constants)

# Not a standing denial of the application or the user: while that lasts, the connection is there and sleeps.
_CONNECTED = """
SELECT g.client_id, array_agg(DISTINCT scope) AS scopes
  FROM token_issuer.grants g CROSS JOIN LATERAL unnest(g.scopes) scope
 WHERE g.sub = $1 AND g.ended IS NULL AND (g.jti IS NOT NULL OR $2 < g.code_expires_at)
   AND $2 < greatest(g.tokens_end_at, g.refresh_expires_at)
   AND NOT EXISTS (
     SELECT FROM (VALUES ('client', g.client_id), ('subject', g.sub), ('subject_sessions', g.sub), ('session', g.sid),
                         ('subject_client', g.sub || ' ' || g.client_id)) AS party (kind, id)
       JOIN token_issuer.denials d ON d.kind = party.kind AND d.id = party.id
      WHERE (d.kind = 'session' OR d.rule = 'cut_off' AND d.position >= g.born)
        AND NOT (d.kind = 'subject_sessions' AND d.except_id = g.sid))
 GROUP BY g.client_id
"""

_APPLICATIONS = """
SELECT a.client_id, a.settings::text AS settings, a.enabled FROM token_issuer.applications a
 WHERE a.client_id = ANY ($1) AND NOT a.uninstalled
"""

_OFFERING = """
SELECT a.client_id FROM token_issuer.applications a
 WHERE a.enabled AND NOT a.uninstalled AND a.settings ->> 'reference_tokens' <> 'none' ORDER BY a.client_id LIMIT $1
"""

_RESOURCES = "SELECT r.identifier, r.settings::text AS settings FROM token_issuer.resources r WHERE r.scopes && $1"

_MOST_OFFERS = 200

_COARSENESS_SECONDS = 60
"""A token's last use is written once in so many seconds, however often and wherever it is used."""

# Whoever holds a row is not waited for: another process writes the same, and an append must not be waited behind.
_USED = f"""
WITH due AS (
    SELECT n.jti, u.used_at, n.last_used_at AS before FROM unnest($1::text[], $2::timestamptz[]) u (jti, used_at)
      JOIN token_issuer.reference_notes n ON n.jti = u.jti
     WHERE n.last_used_at IS NULL OR n.last_used_at <= u.used_at - interval '{_COARSENESS_SECONDS} seconds'
       FOR UPDATE OF n SKIP LOCKED
)
UPDATE token_issuer.reference_notes n SET last_used_at = due.used_at FROM due WHERE n.jti = due.jti
RETURNING n.jti, coalesce(date_trunc('day', due.before, 'UTC') < date_trunc('day', due.used_at, 'UTC'), true) AS first
"""  # noqa: S608  (the only thing put in is a constant)


class ReferenceQuestions:
    """What is asked about reference tokens. Each is one statement; `LogUnavailable` where they are out of reach."""

    def __init__(self, pool: Connections) -> None:
        self._pool = pool
        self._together = Together(self._by_digest)

    async def by_digest(self, digest: str) -> FoundReference | None:
        """The token with this digest, taken back or not. Those asked for at the same moment are one statement."""
        return await self._together.ask(digest)

    async def _by_digest(self, digests: Sequence[str]) -> list[FoundReference | None]:
        rows = await ask(self._pool.fetch(_BY_DIGEST, list(digests)))
        return [None if row["jti"] is None else _found(row) for row in rows]

    async def page(
        self, sub: str | None, client_id: str | None, now: datetime, *, before: int | None, limit: int
    ) -> list[ListedReference]:
        """Tokens of a user, for an application, both or all; newest first, from before a position on."""
        return [_listed(row) for row in await ask(self._pool.fetch(_PAGE, sub, client_id, now, before, limit))]

    async def alive(self, sub: str, now: datetime, limit: int) -> list[ListedReference]:
        """Those of a user that are accepted, or will be again when something disabled is enabled."""
        return [_listed(row) for row in await ask(self._pool.fetch(_ALIVE, sub, None, now, None, limit))]

    async def count_alive(self, sub: str, now: datetime, limit: int) -> int:
        """How many those are; counted up to `limit`."""
        counted: int = await ask(self._pool.fetchval(_COUNT, sub, None, now, None, limit))
        return counted

    async def connected(self, sub: str, now: datetime) -> dict[str, tuple[str, ...]]:
        """The applications that have an open grant of a user, with the scopes of these."""
        return {row["client_id"]: tuple(row["scopes"]) for row in await ask(self._pool.fetch(_CONNECTED, sub, now))}

    async def applications(self, client_ids: Collection[str]) -> list[NamedApplication]:
        """Those of these applications that are registered."""
        return [
            NamedApplication(row["client_id"], ApplicationSettings.model_validate_json(row["settings"]), row["enabled"])
            for row in await ask(self._pool.fetch(_APPLICATIONS, list(client_ids)))
        ]

    async def offering(self) -> list[str]:
        """The applications that reference tokens may be made for, whoever may have them made."""
        return [row["client_id"] for row in await ask(self._pool.fetch(_OFFERING, _MOST_OFFERS))]

    async def owners_of(self, scopes: Collection[str]) -> list[Resource]:
        """The resources that own one of these scopes."""
        return [
            Resource(row["identifier"], ResourceSettings.model_validate_json(row["settings"]))
            for row in await ask(self._pool.fetch(_RESOURCES, list(scopes)))
        ]

    async def write_uses(self, uses: Mapping[str, datetime]) -> list[str]:
        """Note when tokens were last used, for those of which nothing was written within the last minute.

        Answers those that were not used before on this day (of UTC).
        """
        rows = await ask(self._pool.fetch(_USED, list(uses), list(uses.values())))
        return [row["jti"] for row in rows if row["first"]]


def _known(row: Mapping[str, Any]) -> KnownReference:
    return KnownReference(
        jti=row["jti"],
        kind=ReferenceKind(row["kind"]),
        client_id=row["client_id"],
        sub=row["sub"],
        scopes=tuple(row["scopes"]),
        audiences=tuple(row["audiences"]),
        expires_at=row["expires_at"],
        position=row["position"],
        epoch=row["epoch"],
        issued_at=row["issued_at"],
    )


def _found(row: Mapping[str, Any]) -> FoundReference:
    cut_off = None if row["cut_off"] is None else DenialKind(row["cut_off"])
    return FoundReference(_known(row), row["revoked"] is not None, cut_off)


def _listed(row: Mapping[str, Any]) -> ListedReference:
    return ListedReference(_known(row), row["label"], row["last_used_at"], row["state"])
