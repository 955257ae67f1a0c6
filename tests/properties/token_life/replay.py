"""Replay: what the log alone makes of the tables, and of each aggregate."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from services.identity import read_model as identity
from services.identity import subscriptions as identity_subscriptions
from services.identity.domain.consent import CONSENT
from services.identity.domain.session import SESSION
from services.identity.domain.user import USER
from services.registry import read_model as registry
from services.registry.domain import application
from services.token_issuer import read_model as issuer
from services.token_issuer import signing_key_tables
from services.token_issuer import subscriptions as issuer_subscriptions
from services.token_issuer.domain import grant
from services.token_issuer.domain.grant import Grant
from services.token_issuer.domain.reference_token import decider as reference_token
from services.token_issuer.references import tables as reference_tables
from shared.log.event import Delete, Event, Patch, Put, Recorded, RowChange
from shared.log.log import Log
from tests.properties.token_life.world import World

Row = dict[str, Any]
Live = Mapping[str, dict[tuple[Any, ...], Row]]
_KEYS: Mapping[str, tuple[str, ...]] = {
    registry.APPLICATIONS: ("client_id",),
    registry.SECRETS: ("client_id", "secret_id"),
    registry.RESOURCES: ("resource_id",),
    identity.USERS: ("sub",),
    identity.ERASED: ("sub",),
    identity.PASSKEYS: ("passkey_id",),
    identity.SESSIONS: ("sid",),
    identity.CONSENTS: ("sub", "client_id", "scope"),
    identity.UNINSTALLED: ("client_id",),
    identity.SIGNED_USERINFO: ("client_id",),
    issuer.GRANTS: ("gid",),
    reference_tables.REFERENCES: ("jti",),
    signing_key_tables.KEYS: ("kid",),
    issuer_subscriptions.APPLICATIONS: ("client_id",),
    issuer_subscriptions.SECRETS: ("client_id", "secret_id"),
    issuer_subscriptions.RESOURCES: ("resource_id",),
    issuer_subscriptions.USERS: ("sub",),
    issuer_subscriptions.SESSIONS: ("sid",),
    issuer_subscriptions.DENIALS: ("kind", "id", "rule", "except_id"),
}


class Tables:
    """Rows in memory, as row changes leave them."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], Row]] = {name: {} for name in _KEYS}

    def take(self, changes: Iterable[RowChange]) -> None:
        for change in changes:
            rows = self.rows[change.table]
            match change:
                case Put(row=row):
                    rows[tuple(row[column] for column in _KEYS[change.table])] = dict(row)
                case Patch(where=where, values=values):
                    for row in _found(rows, where):
                        row.update(values)
                case Delete(where=where):
                    for row in _found(rows, where):
                        del rows[tuple(row[column] for column in _KEYS[change.table])]


def _found(rows: dict[tuple[Any, ...], Row], where: Mapping[str, Any]) -> list[Row]:
    return [row for row in rows.values() if all(row[column] == value for column, value in where.items())]


async def assert_replay_equals_live(world: World, *, pruned: bool) -> None:
    """Every service's tables are what its facts make of them. The views of others' facts have to be complete.

    `pruned`: denials that can match nothing any more may be gone.
    """
    facts = {
        "registry": await _facts(world.registry_log),
        "identity": await _facts(world.identity_log),
        "token_issuer": await _facts(world.issuer_log),
    }
    feeders: list[tuple[str, Callable[[Recorded], Iterable[RowChange]], tuple[str, ...]]] = [
        ("registry", registry.project, ("registry",)),
        ("identity", identity.project, ("identity",)),
        ("identity", identity_subscriptions.project_registry, ("registry",)),
        ("token_issuer", issuer.project, ("token_issuer",)),
        ("token_issuer", issuer_subscriptions.project, ("registry", "identity")),
    ]
    tables = Tables()
    for reader, project, sources in feeders:
        for fact in facts[reader]:
            if fact.event.source in sources:
                tables.take(project(fact))
    for name, rows in tables.rows.items():
        live = await _live(world, name)
        different = {key: (live.get(key), rows.get(key)) for key in {*live, *rows} if live.get(key) != rows.get(key)}
        assert not different, f"{name} is not what the facts make of it (live, replayed): {different}"
    await _assert_folds(world, facts)
    await _assert_denials(world, facts, pruned=pruned)


async def _facts(log: Log) -> list[Recorded]:
    facts: list[Recorded] = []
    while batch := await log.read(facts[-1].position if facts else 0):  # type: ignore[arg-type]  # what is read has one
        facts.extend(batch)
    return facts


async def _live(world: World, name: str) -> dict[tuple[Any, ...], Row]:
    records = await world.held.superuser.fetch(f"SELECT * FROM {name}")  # noqa: S608  (a constant)
    rows = [{column: _plain(value) for column, value in record.items()} for record in records]
    return {tuple(row[column] for column in _KEYS[name]): row for row in rows}


def _plain(value: Any) -> Any:
    """`jsonb` comes as text; the only texts that begin so are such."""
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


async def _assert_folds(world: World, facts: Mapping[str, list[Recorded]]) -> None:
    """The rows say what the deciders make of each stream."""
    streams: dict[str, list[Recorded]] = {}
    for service, all_facts in facts.items():
        for fact in all_facts:
            if fact.event.source == service:
                streams.setdefault(fact.stream, []).append(fact)
    live = {name: await _live(world, name) for name in _KEYS}
    texts = {
        row["gid"]: row["grant"]
        for row in await world.held.superuser.fetch("SELECT gid, to_jsonb(g)::text AS grant FROM token_issuer.grants g")
    }
    for stream, recorded in streams.items():
        category, _, name = stream.partition("-")
        events = [fact.event for fact in recorded]
        if category == "grant":
            assert msgspec.json.decode(texts[name], type=Grant) == grant.decider.fold(events)
        elif category in _FOLDS:
            _FOLDS[category](events, live, name)


def _assert_user(events: Sequence[Event], live: Live, name: str) -> None:
    user = USER.fold(events)
    assert ((name,) in live[identity.ERASED]) == user.erased
    if user.erased:
        assert (name,) not in live[identity.USERS]
        assert (name,) not in live[issuer_subscriptions.USERS]
        return
    for table in (identity.USERS, issuer_subscriptions.USERS):
        row = live[table][name,]
        assert (row["enabled"], row["roles"]) == (user.enabled, [role.value for role in user.roles])


def _assert_session(events: Sequence[Event], live: Live, name: str) -> None:
    session = SESSION.fold(events)
    erased = (events[0].data_subject(),) in live[identity.ERASED]
    assert ((name,) in live[identity.SESSIONS]) == (not session.ended and not erased)
    assert live[issuer_subscriptions.SESSIONS][name,]["ended"] == session.ended


def _assert_consent(events: Sequence[Event], live: Live, name: str) -> None:
    sub, _, client_id = name.partition(".")
    kept = {scope for (s, c, scope) in live[identity.CONSENTS] if (s, c) == (sub, client_id)}
    assert kept == (set() if (sub,) in live[identity.ERASED] else CONSENT.fold(events).scopes)


def _assert_application(events: Sequence[Event], live: Live, name: str) -> None:
    state = application.decider.fold(events)
    row = live[issuer_subscriptions.APPLICATIONS][name,]
    secrets = {secret for (client_id, secret) in live[issuer_subscriptions.SECRETS] if client_id == name}
    assert secrets == {secret for (client_id, secret) in live[registry.SECRETS] if client_id == name}
    if isinstance(state, application.Trusted):
        own = live[registry.APPLICATIONS][name,]
        settings = state.settings.model_dump(mode="json")
        assert (own["enabled"], own["settings"]) == (state.enabled, settings)
        assert (row["enabled"], row["settings"], row["uninstalled"]) == (state.enabled, settings, False)
        assert secrets == {secret_id for secret_id, secret in state.secrets.items() if not secret.revoked}
    else:
        assert (name,) not in live[registry.APPLICATIONS]
        assert row["uninstalled"]
        assert not secrets


def _assert_reference(events: Sequence[Event], live: Live, name: str) -> None:
    state, row = reference_token.fold(events), live[reference_tables.REFERENCES][name,]
    assert state is not None
    assert (row["sub"], row["client_id"], row["kind"]) == (state.sub, state.client_id, state.kind.value)
    assert (row["revoked"] is not None, row["expires_at"]) == (state.revoked, state.expires_at)


_FOLDS: Mapping[str, Callable[[Sequence[Event], Live, str], None]] = {
    "application": _assert_application,
    "user": _assert_user,
    "session": _assert_session,
    "consent": _assert_consent,
    "reference": _assert_reference,
}


async def _assert_denials(world: World, facts: Mapping[str, list[Recorded]], *, pruned: bool) -> None:
    """The log's denials are what its facts declare, in order and numbered densely."""
    everything = sorted(
        (fact for service, all_facts in facts.items() for fact in all_facts if fact.event.source == service),
        key=lambda fact: int(fact.position),
    )
    declared = [
        (fact.position, denial.kind, denial.id, denial.rule, denial.except_id, denial.until)
        for fact in everything
        for denial in fact.event.denies()
    ]
    kept = await world.held.superuser.fetch("SELECT * FROM log.denials ORDER BY number")
    numbered = dict(enumerate(declared, start=1))
    if pruned:
        # What is left is what was declared, under the numbers that it was given.
        numbered = {row["number"]: numbered[row["number"]] for row in kept}
    columns = ("position", "kind", "id", "rule", "except_id", "until")
    assert {row["number"]: tuple(row[column] for column in columns) for row in kept} == numbered
