"""Deciders: the business rules of one aggregate as two pure functions.

    decide(command, state) -> events      or raises a Refusal, and nothing has changed
    evolve(state, event)   -> state

A decider knows no clock, no randomness and no I/O; whatever it needs of them comes in the command. So its tests
are `given(events).when(command).then(events)`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.log.event import Event

C = TypeVar("C")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Decider(Generic[C, S]):
    """The rules of one kind of aggregate."""

    category: str
    """First part of its stream names."""
    initial: S
    decide: Callable[[C, S], Sequence[Event]]
    evolve: Callable[[S, Event], S]

    def stream(self, aggregate_id: str) -> str:
        """The name of the stream of one aggregate."""
        return f"{self.category}-{aggregate_id}"

    def fold(self, events: Iterable[Event]) -> S:
        """The state after these events."""
        state = self.initial
        for event in events:
            state = self.evolve(state, event)
        return state
