"""The signing keys: which there are, and which one signs.

All of them are one aggregate with one stream, so that two replicas that start at once cannot both make the first key:
the second one's append meets the first one's, and it finds that there is nothing left to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from services.token_issuer.events import (
    KeyUse,
    SigningKeyActivated,
    SigningKeyCompromised,
    SigningKeyCreated,
    SigningKeyRetired,
)
from shared.decider import Decider
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


@dataclass(frozen=True, slots=True)
class Introduce:
    """Have a key for this use: the one given, unless there is one already."""

    kid: str
    algorithm: str
    use: KeyUse
    public_jwk: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    use: KeyUse
    state: KeyState


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys there ever were, by `kid`."""

    by_kid: Mapping[str, Key] = field(default_factory=dict)

    def active(self, use: KeyUse) -> str | None:
        """The `kid` of the key that signs for this use."""
        for kid, key in self.by_kid.items():
            if key.use is use and key.state is KeyState.ACTIVE:
                return kid
        return None


def decide(command: Introduce, state: Keys) -> Sequence[Event]:
    """A first key is announced and used at once: nothing was signed before that anybody could have cached keys for."""
    if state.active(command.use) is not None:
        return ()
    return (
        SigningKeyCreated(
            kid=command.kid, algorithm=command.algorithm, use=command.use, public_jwk=dict(command.public_jwk)
        ),
        SigningKeyActivated(kid=command.kid),
    )


def evolve(state: Keys, event: Event) -> Keys:
    """The state after a fact."""
    match event:
        case SigningKeyCreated():
            return _with(state, event.kid, Key(event.use, KeyState.PENDING))
        case SigningKeyActivated():
            use = state.by_kid[event.kid].use
            before = state.active(use)
            retiring = state if before is None else _with(state, before, Key(use, KeyState.RETIRING))
            return _with(retiring, event.kid, Key(use, KeyState.ACTIVE))
        case SigningKeyRetired():
            return _with(state, event.kid, replace(state.by_kid[event.kid], state=KeyState.RETIRED))
        case SigningKeyCompromised():
            return _with(state, event.kid, replace(state.by_kid[event.kid], state=KeyState.COMPROMISED))
        case _:
            return state


def _with(state: Keys, kid: str, key: Key) -> Keys:
    return Keys({**state.by_kid, kid: key})


decider: Decider[Introduce, Keys] = Decider("keys", Keys(), decide, evolve)
