"""What a service's tables are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.handle import Project


@dataclass(frozen=True, slots=True)
class Projection:
    """Tables that are made of facts, and of nothing else, by one pure function.

    Of the service's own facts (then the append writes the rows) or of others' (then a follower does), not of both.
    """

    name: str
    """Lower case; for others' facts it is the name of their follower's checkpoints."""
    sources: tuple[str, ...]
    """Whose facts."""
    project: Project
    tables: tuple[str, ...]
    """Names in the service's own schema. No other projection writes to them, and nothing else does."""
    version: int = 1
    """To be raised when `project` makes other rows of the same facts: the old ones are then out of date until a
    rebuild."""
    let_go: Mapping[str, str] = field(default_factory=dict)
    """By table, in SQL with `s` for the row: of which rows the service lets go, sooner or later, because no request
    can need them any more. A rebuild brings them back until then."""
