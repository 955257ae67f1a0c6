"""What the load has done, as those who did it know it: what was tried, and what they were told."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from shared.ids import new_id


class Outcome(StrEnum):
    """What whoever asked was told."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """Nothing, or to try again: it may have happened or not."""


@dataclass
class Operation:
    """One change that somebody wants, and the attempts at it.

    Each attempt has a correlation id of its own, which stands in every event that comes of it.
    """

    what: str
    writes: tuple[str, ...]
    """The types of the events that it writes, each of them once; the last one is at the acknowledged position."""
    beside: tuple[str, ...] = ()
    """Types of events that may come with it, each once at most."""
    courses: list[str] = field(default_factory=list)
    outcome: Outcome = Outcome.UNKNOWN
    position: int | None = None
    """Where it is in the log, as was acknowledged; None where the answer does not say."""
    says: dict[str, object] = field(default_factory=dict)
    """Members of the last event, as far as the answer told them."""
    why: str = ""

    def attempt(self) -> str:
        """The correlation id of one more attempt."""
        self.courses.append(new_id())
        return self.courses[-1]

    def acknowledged(self, position: int | None = None, **says: object) -> None:
        """It was said that it is done."""
        self.outcome, self.position, self.says = Outcome.ACKNOWLEDGED, position, says

    def refused(self, why: str) -> None:
        """It was said that it is not done, and never will be."""
        self.outcome, self.why = Outcome.REFUSED, why


class Journal:
    """All operations of a run, and everything that should not have been answered."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.wrong: list[str] = []
        """Answers that nobody should get, whatever is killed."""

    def begin(self, what: str, *writes: str, beside: tuple[str, ...] = ()) -> Operation:
        """One more operation."""
        operation = Operation(what, writes, beside)
        self.operations.append(operation)
        return operation

    def count(self, outcome: Outcome) -> int:
        """How many ended so."""
        return sum(operation.outcome is outcome for operation in self.operations)

    def kinds(self) -> Counter[str]:
        """How many of each kind were acknowledged."""
        return Counter(one.what for one in self.operations if one.outcome is Outcome.ACKNOWLEDGED)
