"""How long and how often."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """What all benchmarks are told."""

    rounds: int = 5
    seconds: float = 2.5
    """Of one round of load."""
    verbose: bool = False
    """Tell the particulars too, such as each statement."""
    soak_seconds: float = 0.0
    """Of the long load of P11; 0: four minutes a round."""
    peer: bool = False
    """Measure the npm peer beside P4, in the same run; it needs Node and npm."""
    events: int = 0
    """In the log that P8 reads, and in the larger one of P9; 0: 200,000."""

    @property
    def log_size(self) -> int:
        """Events of a large log."""
        return self.events or 200_000
