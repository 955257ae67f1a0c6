"""What services tell of the past: the state of one of their things as it was, from its facts alone.

Each service says so in its `history.py`, beside the domain whose `evolve` it uses, and whoever answers questions about
the past is given all of them where it is put together. So nobody else folds a service's facts, and nobody needs to
know its domain to ask. What is told is made of facts and of the moment; it reads nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from msgspec import Struct

from shared.decider import Decider
from shared.denials import DenialKind
from shared.log.event import Event, Recorded

S = TypeVar("S")

PERSONAL = "(personal)"
"""Stands for personal data that is in the log, where only the service that has the person's key can read it."""
ERASED = "(erased)"
"""Stands for personal data that nobody can read any more."""

State = Mapping[str, Any]
"""What is told of a thing: values that JSON has, and moments."""


@dataclass(frozen=True, slots=True)
class Thing(Generic[S]):
    """A kind of thing that has a state."""

    kind: str
    """What it is called in questions: `application`."""
    decider: Decider[Any, S]
    show: Callable[[str, S, datetime], State | None]
    """From its id, its state and the moment to what is told; None: there was none."""
    aggregate: Callable[[str], str] = str
    """From the id that is asked for to that of the aggregate."""
    hindsight: Callable[[State, Sequence[Event]], State] = lambda state, _: state
    """What can still be told of it, after the facts since then: data that was erased cannot."""

    def stream(self, thing_id: str) -> str:
        """Where its facts are."""
        return self.decider.stream(self.aggregate(thing_id))

    def tell(self, thing_id: str, then: Sequence[Event], since: Sequence[Event], at: datetime) -> State | None:
        """Its state after the facts up to then."""
        state = self.show(thing_id, self.decider.fold(then), at)
        return None if state is None else self.hindsight(state, since)


class IssuedToken(Struct, frozen=True):
    """A token as the log knows it: whose it is, what it allowed, and where its event stands."""

    jti: str
    kind: str
    """`access_token`, `pat` or `sat`."""
    client_id: str
    sub: str
    sid: str | None
    gid: str | None
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime
    position: int
    epoch: int
    key: str | None = None
    """The `kid` of the key that signed it, by what the log says; None for a token that nothing signs."""
    actors: tuple[str, ...] = ()
    """Of a token from an exchange the applications that act, by `client_id`: its own, then back to the first one."""
    derived_from: tuple[str, ...] = ()
    """The ids of the tokens that it was exchanged for, the last one first."""

    @property
    def reference(self) -> bool:
        """Whether it is a reference token."""
        return self.kind != "access_token"


@dataclass(frozen=True, slots=True)
class Tokens:
    """How tokens are found in the log."""

    streams: tuple[Callable[[str], str], ...]
    """Those which can be of the one token with this id."""
    types: tuple[str, ...]
    """Facts that issue a token in the stream of something else; they name it as `jti`."""
    issued: Callable[[Sequence[Recorded], str], IssuedToken | None]
    """The token with this id, from the facts of the stream that it was found in."""
    keys: str
    """The stream of the keys that sign."""
    signer: Callable[[Iterable[Event]], str | None]
    """The `kid` of the key that signs access tokens after these facts."""
    known_keys: Callable[[Iterable[Event]], frozenset[str]]
    """The `kid`s of all keys that there were by then."""


@dataclass(frozen=True, slots=True)
class History:
    """What one service tells of the past."""

    source: str
    things: tuple[Thing[Any], ...]
    denied_in: Mapping[DenialKind, tuple[Callable[[str], str], ...]]
    """From the id that a denial names to the streams whose facts can cause it. All kinds that the service can deny."""
    tokens: Tokens | None = None
