"""The tables of how applications came to be registered, where no administrator filled in a form.

Initial access tokens, and what was registered with each; and the documents that applications were installed from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from msgspec.json import decode

from services.registry.events import (
    ApplicationDynamicallyRegistered,
    ApplicationInstalled,
    GrantType,
    InitialAccessTokenIssued,
    InitialAccessTokenRevoked,
)
from shared.log.connections import Connections
from shared.log.event import Delete, Put, Recorded, RowChange
from shared.questions import ask

TOKENS = "registry.initial_access_tokens"
REGISTRATIONS = "registry.registrations"
INSTALLATIONS = "registry.installations"


def project(recorded: Recorded) -> Iterable[RowChange]:
    """What the tables learn of an event."""
    match recorded.event:
        case InitialAccessTokenIssued() as event:
            said = event.model_dump(include={"token_id", "token_digest", "purpose", "uses", "client_id_prefix"})
            lists = event.model_dump(mode="json", include={"scopes", "grants"})
            at = {"issued_at": recorded.recorded_at, "position": recorded.position}
            return (Put(TOKENS, {**said, **lists, **at, "expires_at": event.expires_at}),)
        case InitialAccessTokenRevoked(token_id=token_id):
            return (Delete(TOKENS, {"token_id": token_id}),)
        case ApplicationDynamicallyRegistered(client_id=client_id, initial_access_token=token_id):
            row = {"client_id": client_id, "token_id": token_id, "position": recorded.position}
            return (Put(REGISTRATIONS, row),)
        case ApplicationInstalled() as event:
            return (Put(INSTALLATIONS, {**event.model_dump(), "position": recorded.position}),)
        case _:
            return ()


@dataclass(frozen=True, slots=True)
class InitialAccessRow:
    """An initial access token that was not revoked; it may have expired, or be used up."""

    token_id: str
    purpose: str
    expires_at: datetime
    uses: int | None
    used: int
    client_id_prefix: str
    scopes: tuple[str, ...]
    grants: tuple[GrantType, ...]
    issued_at: datetime
    position: int


_SELECT = f"""
    SELECT t.token_id, t.purpose, t.expires_at, t.uses, t.client_id_prefix, t.scopes::text AS scopes,
           t.grants::text AS grants, t.issued_at, t.position,
           (SELECT count(*) FROM {REGISTRATIONS} r WHERE r.token_id = t.token_id) AS used
    FROM {TOKENS} t
"""  # noqa: S608  (constants of this module)


async def shown(pool: Connections, token_digest: str) -> InitialAccessRow | None:
    """The token with this digest."""
    row = await ask(pool.fetchrow(f"{_SELECT} WHERE t.token_digest = $1", token_digest))
    return None if row is None else _row(row)


async def issued(pool: Connections, token_id: str) -> InitialAccessRow | None:
    """The token with this id."""
    row = await ask(pool.fetchrow(f"{_SELECT} WHERE t.token_id = $1", token_id))
    return None if row is None else _row(row)


async def tokens(pool: Connections, after: str, limit: int) -> Sequence[InitialAccessRow]:
    """Tokens by id, from the first one after `after`."""
    rows = await ask(pool.fetch(f"{_SELECT} WHERE t.token_id > $1 ORDER BY t.token_id LIMIT $2", after, limit))
    return [_row(row) for row in rows]


def _row(row: asyncpg.Record) -> InitialAccessRow:
    return InitialAccessRow(
        token_id=row["token_id"],
        purpose=row["purpose"],
        expires_at=row["expires_at"],
        uses=row["uses"],
        used=row["used"],
        client_id_prefix=row["client_id_prefix"],
        scopes=tuple(decode(row["scopes"], type=list[str])),
        grants=tuple(GrantType(grant) for grant in decode(row["grants"], type=list[str])),
        issued_at=row["issued_at"],
        position=row["position"],
    )
