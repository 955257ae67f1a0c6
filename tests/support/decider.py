"""Given, when, then: tests of a decider read like its rules.

given(decider, *events).when(command).then(*events)
given(decider, *events).when(command).refused("code")
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.decider import Decider
from shared.errors import Refusal
from shared.log.event import Event

C = TypeVar("C")
S = TypeVar("S")


@dataclass(frozen=True)
class Given(Generic[C, S]):
    """A history."""

    decider: Decider[C, S]
    events: tuple[Event, ...]

    @property
    def state(self) -> S:
        """Where the history leads."""
        return self.decider.fold(self.events)

    def when(self, command: C) -> "When[C, S]":
        """The command meets the history."""
        try:
            return When(self, tuple(self.decider.decide(command, self.state)), None)
        except Refusal as refusal:
            return When(self, (), refusal)


@dataclass(frozen=True)
class When(Generic[C, S]):
    """What came of a command."""

    given: Given[C, S]
    events: tuple[Event, ...]
    refusal: Refusal | None

    def then(self, *events: Event) -> Given[C, S]:
        """Exactly these events happened; the answer is the longer history, for a next command."""
        assert self.refusal is None, f"refused with {self.refusal.code}: {self.refusal.message}"
        assert self.events == events
        for event in self.events:
            assert type(event).from_json(event.to_json()) == event, "the log has to give back what it was given"
        return Given(self.given.decider, self.given.events + self.events)

    def then_nothing(self) -> Given[C, S]:
        """It succeeded, and there was nothing to write."""
        return self.then()

    def refused(self, code: str, about: str = "") -> Refusal:
        """It was refused with this code, and `about` stands in the message."""
        assert self.refusal is not None, f"not refused; it happened: {self.events}"
        assert self.refusal.code == code, f"{self.refusal.code}: {self.refusal.message}"
        assert about in self.refusal.message, self.refusal.message
        return self.refusal


def given(decider: Decider[C, S], *events: Event) -> Given[C, S]:
    """Begin with a history; none is the beginning of everything."""
    return Given(decider, events)
