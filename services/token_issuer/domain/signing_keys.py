"""The signing keys: which there are, and which one signs.

    Introduce ────────────────────────────────┐
    Rotate ─▶ pending ── its time has come ─▶ active ── a successor is ─▶ retiring ── its time is up ─▶ retired
                 └──────────────────────────────┴────────── Compromise ──────┴─────────────────────────────┘
                                                                ▼
                                                           compromised

All of them are one aggregate with one stream, so that of two replicas that do the same thing at once one does it: the
other one's append meets the first one's, and it finds that there is nothing left to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from services.token_issuer.events import (
    KeyUse,
    SigningKeyActivated,
    SigningKeyCompromised,
    SigningKeyCreated,
    SigningKeyRetired,
)
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event

SIGNING = "signing"
"""The id of the one aggregate."""


class KeyState(StrEnum):
    """The life of a signing key."""

    PENDING = "pending"
    """Announced, and not used yet."""
    ACTIVE = "active"
    RETIRING = "retiring"
    """It signs nothing more; what it signed may be alive."""
    RETIRED = "retired"
    COMPROMISED = "compromised"


# Commands


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key pair that was just made, by its public half."""

    kid: str
    algorithm: str
    use: KeyUse
    public_jwk: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Introduce:
    """Have a key for this use: the one given, unless one is active already."""

    key: NewKey


@dataclass(frozen=True, slots=True)
class Rotate:
    """Announce a successor to the active key, unless one is announced already."""

    key: NewKey
    use_from: datetime
    """When it may begin to sign."""
    instead_of: str | None = None
    """The key that was found to be old: where another one is active by now, nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Do what the time has come for: use keys that were announced long enough ago, and let go of old ones."""

    now: datetime
    retire_from: datetime
    """By then nothing is alive that was signed until now."""


@dataclass(frozen=True, slots=True)
class Compromise:
    """Somebody else may have this key: nothing that it signed counts, and another one signs at once."""

    kid: str
    successor: NewKey
    """Used only if the compromised key is the active one; it has the same use."""


Command = Introduce | Rotate | Settle | Compromise


# State


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    use: KeyUse
    state: KeyState
    until: datetime | None = None
    """Of a pending key, when it may begin to sign; of a retiring one, when nothing that it signed is alive."""

    def due(self, now: datetime) -> bool:
        """Whether that moment has come."""
        return self.until is None or now >= self.until


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys there ever were, by `kid`."""

    by_kid: Mapping[str, Key] = field(default_factory=dict)

    def active(self, use: KeyUse) -> str | None:
        """The `kid` of the key that signs for this use."""
        return self._first(use, KeyState.ACTIVE)

    def pending(self, use: KeyUse) -> str | None:
        """The `kid` of the key that will sign next."""
        return self._first(use, KeyState.PENDING)

    def _first(self, use: KeyUse, state: KeyState) -> str | None:
        return next((kid for kid, key in self.by_kid.items() if key.use is use and key.state is state), None)


# Rules


def decide(command: Command, state: Keys) -> Sequence[Event]:
    """What happens when `command` meets `state`, or the refusal."""
    match command:
        case Introduce():
            return () if state.active(command.key.use) is not None else _at_once(command.key, state)
        case Rotate():
            return _rotate(command, state)
        case Settle():
            return _settle(command, state)
        case Compromise():
            return _compromise(command, state)
        case _:
            assert_never(command)


def _at_once(key: NewKey, state: Keys) -> Sequence[Event]:
    """Announced and used at the same moment.

    A first key may be: nothing was signed before that anybody could have fetched keys for. So may the successor of a
    compromised key: waiting would mean to issue nothing for as long as a JWKS is kept, and whoever meets an unknown
    `kid` fetches the JWKS anew.
    """
    return _created(key, state, None), SigningKeyActivated(kid=key.kid)


def _created(key: NewKey, state: Keys, use_from: datetime | None) -> SigningKeyCreated:
    if key.kid in state.by_kid:
        raise Refusal(Kind.ALREADY_EXISTS, "key_exists", "there is a signing key with this id already")
    return SigningKeyCreated(
        kid=key.kid, algorithm=key.algorithm, use=key.use, public_jwk=dict(key.public_jwk), use_from=use_from
    )


def _rotate(command: Rotate, state: Keys) -> Sequence[Event]:
    active = state.active(command.key.use)
    if active is None:
        raise Refusal(Kind.PRECONDITION, "no_active_key", "there is no key yet that could be succeeded")
    if state.pending(command.key.use) is not None or command.instead_of not in (None, active):
        return ()
    return (_created(command.key, state, command.use_from),)


def _settle(command: Settle, state: Keys) -> Sequence[Event]:
    events: list[Event] = []
    for kid, key in state.by_kid.items():
        if key.state is KeyState.RETIRING and key.due(command.now):
            events.append(SigningKeyRetired(kid=kid))
        elif key.state is KeyState.PENDING and key.due(command.now):
            before = state.active(key.use)
            until = None if before is None else command.retire_from
            events.append(SigningKeyActivated(kid=kid, instead_of=before, retire_from=until))
    return events


def _compromise(command: Compromise, state: Keys) -> Sequence[Event]:
    key = state.by_kid.get(command.kid)
    if key is None:
        raise Refusal(Kind.NOT_FOUND, "key_not_found", "there is no signing key with this id")
    if key.state is KeyState.COMPROMISED:
        return ()
    compromised = SigningKeyCompromised(kid=command.kid)
    if key.state is not KeyState.ACTIVE:
        return (compromised,)
    if command.successor.use is not key.use:
        raise Refusal(Kind.INVALID, "wrong_use", "the successor is a key for another use")
    return (compromised, *_at_once(command.successor, state))


# History


def evolve(state: Keys, event: Event) -> Keys:
    """The state after a fact."""
    match event:
        case SigningKeyCreated():
            return _with(state, event.kid, Key(event.use, KeyState.PENDING, event.use_from))
        case SigningKeyActivated():
            use = state.by_kid[event.kid].use
            before = state.active(use)
            if before is not None:
                state = _with(state, before, Key(use, KeyState.RETIRING, event.retire_from))
            return _with(state, event.kid, Key(use, KeyState.ACTIVE))
        case SigningKeyRetired():
            return _with(state, event.kid, replace(state.by_kid[event.kid], state=KeyState.RETIRED, until=None))
        case SigningKeyCompromised():
            return _with(state, event.kid, replace(state.by_kid[event.kid], state=KeyState.COMPROMISED, until=None))
        case _:
            return state


def _with(state: Keys, kid: str, key: Key) -> Keys:
    return Keys({**state.by_kid, kid: key})


decider: Decider[Command, Keys] = Decider("keys", Keys(), decide, evolve)
