"""The signing keys in the issuer's tables: what is learned of them from its facts, and the question for all of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from services.token_issuer.domain.signing_keys import KeyState
from services.token_issuer.events import (
    KeyUse,
    SigningKeyActivated,
    SigningKeyCompromised,
    SigningKeyCreated,
    SigningKeyRetired,
)
from shared.log.connections import Connections
from shared.log.event import Patch, Put, Recorded, RowChange, RowValue
from shared.questions import ask

KEYS = "token_issuer.signing_keys"
VAULT = "token_issuer.vault"


# What the tables learn


def project(recorded: Recorded) -> Iterable[RowChange]:
    """The rows that change with a fact about a key."""
    event = recorded.event
    match event:
        case SigningKeyCreated():
            return (Put(KEYS, _announced(event, recorded)),)
        case SigningKeyActivated():
            return _activated(event, recorded)
        case SigningKeyRetired():
            return (_key(event.kid, KeyState.RETIRED),)
        case SigningKeyCompromised():
            return (_key(event.kid, KeyState.COMPROMISED),)
        case _:
            return ()


def _announced(event: SigningKeyCreated, recorded: Recorded) -> dict[str, RowValue]:
    return {
        "kid": event.kid,
        "algorithm": event.algorithm,
        "use": event.use.value,
        "public_jwk": event.public_jwk,
        "state": KeyState.PENDING.value,
        "announced": recorded.position,
        "announced_at": recorded.recorded_at,
        "use_from": event.use_from,
        "activated_at": None,
        "retire_from": None,
    }


def _activated(event: SigningKeyActivated, recorded: Recorded) -> tuple[RowChange, ...]:
    active = _key(event.kid, KeyState.ACTIVE, activated_at=recorded.recorded_at)
    if event.instead_of is None:
        return (active,)
    return _key(event.instead_of, KeyState.RETIRING, retire_from=event.retire_from), active


def _key(kid: str, state: KeyState, **more: RowValue) -> Patch:
    return Patch(KEYS, {"kid": kid}, {"state": state.value, **more})


# What is asked

_KEYS = """
SELECT t.now, k.kid, k.algorithm, k.use, k.public_jwk::text AS public_jwk, k.state, k.announced_at, k.use_from,
       k.activated_at, k.retire_from, CASE WHEN $1 THEN v.wrapped END AS wrapped
  FROM (SELECT clock_timestamp() AS now) t
  LEFT JOIN token_issuer.signing_keys k ON true LEFT JOIN token_issuer.vault v ON v.kid = k.kid
 ORDER BY k.announced
"""


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A signing key as it is kept."""

    kid: str
    algorithm: str
    use: KeyUse
    public_jwk: dict[str, str]
    state: KeyState
    announced_at: datetime
    use_from: datetime | None
    """When it may begin to sign; None: when it was announced."""
    activated_at: datetime | None
    retire_from: datetime | None
    """When nothing that it signed can be alive; None as long as it signs."""
    wrapped: bytes | None = field(repr=False)
    """The private half; None: it is deleted, or was not asked for."""


class KeyQuestions:
    """What is asked of the keys; `LogUnavailable` where the tables are out of reach."""

    def __init__(self, pool: Connections, learn: Callable[[datetime], None]) -> None:
        """`learn` is told the time by the database."""
        self._pool = pool
        self._learn = learn

    async def all(self, *, private: bool) -> tuple[datetime, list[KeptKey]]:
        """All signing keys there ever were, the one announced first before the others; and the time."""
        rows = await ask(self._pool.fetch(_KEYS, private))
        self._learn(rows[0]["now"])
        return rows[0]["now"], [_kept(row) for row in rows if row["kid"] is not None]


def _kept(row: Mapping[str, Any]) -> KeptKey:
    return KeptKey(
        kid=row["kid"],
        algorithm=row["algorithm"],
        use=KeyUse(row["use"]),
        public_jwk=msgspec.json.decode(row["public_jwk"], type=dict[str, str]),
        state=KeyState(row["state"]),
        announced_at=row["announced_at"],
        use_from=row["use_from"],
        activated_at=row["activated_at"],
        retire_from=row["retire_from"],
        wrapped=row["wrapped"],
    )
