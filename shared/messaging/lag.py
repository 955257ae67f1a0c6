"""How far something is behind the log, told so that it grows while nothing moves.

What is set by progress stands still together with it. So the time is counted from when it was last known that nothing
was missing, and is asked for when somebody looks.
"""

import time
from collections.abc import Callable


class Lag:
    """Of one thing that follows the log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._complete_at = clock()
        self._behind = 0

    def look(self, asked_at: float, head: int, position: int) -> None:
        """It has come to `position` of a log that had come to `head` when it was asked, at `asked_at` of the clock."""
        self._behind = max(0, head - position)
        if not self._behind:
            self._complete_at = max(self._complete_at, asked_at)

    def positions(self) -> int:
        """By how much it was behind at the last look."""
        return self._behind

    def seconds(self) -> float:
        """Since it was last known to have everything. About as long as between two looks, when all is well."""
        return self._clock() - self._complete_at
