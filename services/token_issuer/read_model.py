"""The issuer's own tables: what they learn of its facts, and the questions they answer.

What a request is decided on is one question with one answer, so that all of it is of the same moment.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from services.registry.events import ApplicationSettings, ResourceSettings
from services.token_issuer import signing_key_tables
from services.token_issuer.authorization.device_requests import Polled, polling
from services.token_issuer.domain.grant import Grant, evolve
from services.token_issuer.events import (
    AccessTokenExchanged,
    AccessTokenIssued,
    CodeRedeemed,
    GrantEnded,
    GrantOpened,
    RefreshTokenRotated,
    RefreshTokenUsed,
    SigningKeyActivated,
    SigningKeyCompromised,
    SigningKeyCreated,
    SigningKeyRetired,
)
from services.token_issuer.references import tables as references
from services.token_issuer.subscriptions import PROJECTION
from services.token_issuer.views import Application, Known, KnownGrant, Resource, Secret, Session, Standing, User
from shared.log.append import AsOf
from shared.log.connections import Connections
from shared.log.event import Patch, Put, Recorded, RowChange, RowValue
from shared.questions import Together, ask
from stagedoor.clock import since_boot

GRANTS = "token_issuer.grants"


# What the tables learn


def project(recorded: Recorded) -> Iterable[RowChange]:
    """The rows that change with a fact of the issuer."""
    event = recorded.event
    match event:
        case AccessTokenIssued() | AccessTokenExchanged():  # by far the most, and they have none
            return ()
        case GrantOpened():
            return (Put(GRANTS, _opened(event, recorded)),)
        case CodeRedeemed() | RefreshTokenRotated() | RefreshTokenUsed():
            return (_issued(event, recorded),)
        case GrantEnded():
            return (Patch(GRANTS, {"gid": event.gid}, {"ended": event.reason.value, "version": recorded.version}),)
        case SigningKeyCreated() | SigningKeyActivated() | SigningKeyRetired() | SigningKeyCompromised():
            return signing_key_tables.project(recorded)
        case _:
            return references.project(recorded)


def _opened(event: GrantOpened, recorded: Recorded) -> dict[str, RowValue]:
    grant = evolve(None, event)
    if grant is None:
        raise TypeError("an opened grant has a state")
    row: dict[str, RowValue] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(grant).items()
    }
    return {**row, "born": recorded.position, **_place(recorded)}


def _issued(event: CodeRedeemed | RefreshTokenRotated | RefreshTokenUsed, recorded: Recorded) -> Patch:
    refresh: dict[str, RowValue] = {}
    if not isinstance(event, RefreshTokenUsed):
        refresh = {
            "refresh_digest": event.refresh_digest,
            "refresh_jkt": event.refresh_jkt,
            "refresh_x5t_s256": event.refresh_x5t_s256,
        }
    if isinstance(event, RefreshTokenRotated):
        refresh |= {"previous_digest": event.presented_digest, "rotated_at": event.rotated_at}
    values: dict[str, RowValue] = {
        "jti": event.jti,
        "token_scopes": list(event.scopes),
        "token_audiences": list(event.audiences),
        "access_token_seconds": event.access_token_seconds,
        "tokens_end_at": event.tokens_end_at,
        "token_jkt": event.jkt,
        "token_x5t_s256": event.x5t_s256,
        **refresh,
        **_place(recorded),
    }
    return Patch(GRANTS, {"gid": event.gid}, values)


def _place(recorded: Recorded) -> dict[str, RowValue]:
    return {
        "version": recorded.version,
        "position": recorded.position,
        "epoch": recorded.epoch,
        "issued_at": recorded.recorded_at,
    }


# What is asked

_MOMENT = f"""
moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now, h.position AS head, h.epoch,
           coalesce((SELECT jsonb_object_agg(c.source, c.position) FROM token_issuer.checkpoints c
                      WHERE c.projection = '{PROJECTION}')::text, '{{}}') AS as_of
      FROM log.head h
)
"""  # noqa: S608  (the only thing put in is a constant)
_ANSWERS = """
SELECT
    m.now, m.head, m.epoch, m.as_of, q.place,
    a.client_id, a.settings::text AS settings, a.enabled AND NOT a.uninstalled AS enabled,
    (SELECT jsonb_agg(jsonb_build_object('digest', k.digest, 'expires_at', k.expires_at))
       FROM token_issuer.secrets k WHERE k.client_id = a.client_id)::text AS secrets,
    (SELECT jsonb_agg(jsonb_build_object('identifier', r.identifier, 'settings', r.settings) ORDER BY r.identifier)
       FROM token_issuer.resources r WHERE r.scopes && a.scopes
         OR r.identifier = ANY (ARRAY(SELECT jsonb_array_elements_text(q.identifiers::jsonb))))::text AS resources,
    to_jsonb(u)::text AS account, to_jsonb(s)::text AS session, to_jsonb(g)::text AS grant,
    (SELECT jsonb_agg(to_jsonb(d))
       FROM (VALUES ('client', g.client_id), ('subject', g.sub), ('subject_sessions', g.sub), ('session', g.sid),
                    ('subject_client', COALESCE(g.sub, q.sub) || ' ' || COALESCE(g.client_id, q.client_id)))
            AS party (kind, id)
       JOIN token_issuer.denials d ON d.kind = party.kind AND d.id = party.id)::text AS denials
FROM moment m
LEFT JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[]) WITH ORDINALITY
     AS q (client_id, gid, sub, sid, identifiers, remembered, epoch, place)
  ON (q.remembered, q.epoch) IS DISTINCT FROM (m.as_of, m.epoch)
LEFT JOIN LATERAL (SELECT * FROM token_issuer.applications t WHERE t.client_id = q.client_id LIMIT 1) a ON true
LEFT JOIN LATERAL (SELECT * FROM token_issuer.grants t WHERE t.gid = q.gid LIMIT 1) g ON true
LEFT JOIN LATERAL (SELECT * FROM token_issuer.users t
                    WHERE t.sub = COALESCE(q.sub, g.sub, a.service_account) LIMIT 1) u ON true
LEFT JOIN LATERAL (SELECT * FROM token_issuer.sessions t WHERE t.sid = q.sid LIMIT 1) s ON true
"""
_KNOWN = f"WITH {_MOMENT} {_ANSWERS}"
"""One row for the moment at least; of a question that is remembered as of that moment nothing more."""
_POLLED = polling(_MOMENT, _ANSWERS)

_GRANTS = """
SELECT to_jsonb(g)::text AS grant FROM token_issuer.grants g
 WHERE ($1::text IS NULL OR g.sub = $1) AND ($2::text IS NULL OR g.client_id = $2)
   AND ($3::bigint IS NULL OR g.born < $3)
 ORDER BY g.born DESC LIMIT $4
"""

_MOST_REMEMBERED = 4096
"""Answers; each is a few hundred bytes, since applications and resources are shared."""
_LONGEST_REMEMBERED = 512
"""Characters of the identifiers in a question that is remembered: whoever asks may name what is not there."""
LATELY_SECONDS = 0.05
"""An answer that is no older is one that came late: the view itself is as far behind the log now and then."""


class _Place(msgspec.Struct):
    """Where a grant stands in the log."""

    version: int
    born: int
    position: int
    epoch: int
    issued_at: datetime


class _Resource(msgspec.Struct):
    identifier: str
    settings: msgspec.Raw


class Asked(msgspec.Struct, frozen=True):
    """A question about what a request is decided on."""

    client_id: str
    gid: str | None
    sub: str | None
    sid: str | None
    identifiers: str
    """JSON."""

    @property
    def lasting(self) -> bool:
        """Whether its answer depends on facts of others alone: it stays the same for as long as none is taken in."""
        return self.gid is None and self.sub is None and self.sid is None


class _Remembered(msgspec.Struct):
    """An answer that may be given again."""

    as_of: str
    """The checkpoints that it holds for, in the epoch that it states: another may give out their positions again."""
    answer: Known
    asked_at: float
    """When it was last given, or confirmed; seconds since boot, before the database was asked."""


class Questions:
    """What the issuer asks of its tables. Each is one statement; `LogUnavailable` where they are out of reach."""

    def __init__(self, pool: Connections, learn: Callable[[datetime], None] = lambda _: None) -> None:
        """`learn` is told the time by the database whenever it is known."""
        self._pool = pool
        self._learn = learn
        self._together = Together(self._known)
        self._remembered: dict[Asked, _Remembered] = {}
        self.references = references.ReferenceQuestions(pool)
        self.keys = signing_key_tables.KeyQuestions(pool, learn)

    async def known(
        self,
        client_id: str,
        *,
        gid: str | None = None,
        sub: str | None = None,
        sid: str | None = None,
        identifiers: Sequence[str] = (),
    ) -> Known:
        """All about one application, with the resources of its scopes and those named.

        With `gid`, the grant and what was denied of its parties; else what was denied of `sub` at the application. The
        user is that of `sub`, else of the grant, else the application's service account.
        """
        return await self._together.ask(Asked(client_id, gid, sub, sid, _named(identifiers)))

    async def polled(
        self, client_id: str, gid: str | None, code_digest: str, targets: Sequence[str], now: datetime
    ) -> tuple[Known, Polled | None]:
        """What `known` answers about the grant that a device asks for, now that it asks once more.

        And how its request stands: None where there is none, or none any more since somebody has allowed it.
        """
        question = ([client_id], [gid], [None], [None], [_named(targets)], [None], [None])
        row = await ask(self._pool.fetchrow(_POLLED, *question, code_digest, now))
        self._learn(row["now"])
        if row["expires_at"] is None:
            return _known(row), None
        return _known(row), Polled(row["expires_at"], row["refused"], row["hasty"], row["interval_seconds"])

    def lately(self, client_id: str, identifiers: Sequence[str] = ()) -> Known | None:
        """What `known` answered about an application a moment ago, if it did.

        It may be acted on only where a fence is around what is given: that refuses what has been denied since its
        `as_of`. It is no reason to refuse anything.
        """
        last = self._remembered.get(Asked(client_id, None, None, None, _named(identifiers)))
        if last is None or since_boot() - last.asked_at > LATELY_SECONDS:
            return None
        return last.answer

    async def _known(self, questions: Sequence[Asked]) -> list[Known]:
        """Answers of one moment.

        What the tables know of an application changes only with a checkpoint, in the same transaction. So an answer
        is remembered with the checkpoints that it was given at, and the database, which is asked all the same, says
        whether they are still the last, and of the same epoch.
        """
        remembered = [self._remembered.get(one) for one in questions]
        columns = (
            [one.client_id for one in questions],
            [one.gid for one in questions],
            [one.sub for one in questions],
            [one.sid for one in questions],
            [one.identifiers for one in questions],
            [None if last is None else last.as_of for last in remembered],
            [None if last is None else last.answer.as_of.epoch for last in remembered],
        )
        asked_at = since_boot()
        rows = await ask(self._pool.fetch(_KNOWN, *columns))
        moment = rows[0]
        head = moment["head"]
        self._learn(moment["now"])
        fresh = {row["place"]: row for row in rows}
        answers = []
        for place, (one, last) in enumerate(zip(questions, remembered, strict=True), start=1):
            if (row := fresh.get(place)) is not None:
                answers.append(self._remember(one, _known(row), row["as_of"], asked_at))
            elif last is not None:
                last.answer, last.asked_at = _at(last.answer, head), asked_at
                answers.append(last.answer)
            else:
                raise TypeError("a question that is not remembered has a row")
        return answers

    def _remember(self, question: Asked, answer: Known, as_of: str, asked_at: float) -> Known:
        """Keep the answer for the next time; of long questions, or clients that are none, there would be no end."""
        short = len(question.identifiers) <= _LONGEST_REMEMBERED
        if question.lasting and short and answer.application is not None:
            self._remembered.pop(question, None)
            while len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[question] = _Remembered(as_of, answer, asked_at)
        return answer

    async def grants(
        self, *, sub: str | None, client_id: str | None, before: int | None, limit: int
    ) -> list[KnownGrant]:
        """Grants of a user, an application, both or all; newest first, from before a position on."""
        rows = await ask(self._pool.fetch(_GRANTS, sub, client_id, before, limit))
        return [_grant(row["grant"]) for row in rows]


def _named(identifiers: Sequence[str]) -> str:
    return msgspec.json.encode(identifiers).decode() if identifiers else "[]"


def _at(answer: Known, head: int) -> Known:
    """The same at another moment; it has no grant, session or denials."""
    return Known(head, answer.as_of, answer.application, answer.resources, answer.user)


def _known(row: Mapping[str, Any]) -> Known:
    return Known(
        head=row["head"],
        as_of=AsOf(row["epoch"], msgspec.json.decode(row["as_of"], type=dict[str, int])),
        application=None if row["client_id"] is None else _application(row),
        resources=_resources(row["resources"]),
        user=None if row["account"] is None else msgspec.json.decode(row["account"], type=User),
        session=None if row["session"] is None else msgspec.json.decode(row["session"], type=Session),
        grant=None if row["grant"] is None else _grant(row["grant"]),
        denials=() if row["denials"] is None else msgspec.json.decode(row["denials"], type=tuple[Standing, ...]),
    )


def _application(row: Mapping[str, Any]) -> Application:
    secrets = row["secrets"]
    return Application(
        client_id=row["client_id"],
        settings=_settings(row["settings"]),
        enabled=bool(row["enabled"]),
        secrets=() if secrets is None else msgspec.json.decode(secrets, type=tuple[Secret, ...]),
    )


@lru_cache(maxsize=1024)
def _settings(text: str) -> ApplicationSettings:
    return ApplicationSettings.model_validate_json(text)


@lru_cache(maxsize=1024)
def _resources(text: str | None) -> tuple[Resource, ...]:
    if text is None:
        return ()
    return tuple(
        Resource(resource.identifier, ResourceSettings.model_validate_json(bytes(resource.settings)))
        for resource in msgspec.json.decode(text, type=list[_Resource])
    )


def _grant(text: str) -> KnownGrant:
    place = msgspec.json.decode(text, type=_Place)
    return KnownGrant(
        grant=msgspec.json.decode(text, type=Grant),
        version=place.version,
        born=place.born,
        position=place.position,
        epoch=place.epoch,
        issued_at=place.issued_at,
    )
