"""The time by the log's clock, which stamps every event: so no replica's own clock decides what has expired."""

from collections.abc import Callable
from datetime import datetime, timedelta

from shared.clock import Clock, system_clock
from stagedoor.clock import since_boot


class LogClock:
    """What time the database last said it was, and the time since then.

    The machine's wall clock is asked only before the database has been: it may be wrong, and be set while this runs.
    """

    def __init__(self, clock: Clock = system_clock, elapsed: Callable[[], float] = since_boot) -> None:
        """`elapsed` counts seconds, of suspension too, and is never set."""
        self._clock = clock
        self._elapsed = elapsed
        self._learned: datetime | None = None
        self._learned_at = 0.0

    def __call__(self) -> datetime:
        """The present moment, in UTC."""
        if self._learned is None:
            return self._clock()
        return self._learned + timedelta(seconds=self._elapsed() - self._learned_at)

    def learn(self, moment: datetime) -> None:
        """The database has just said what time it is."""
        self._learned, self._learned_at = moment, self._elapsed()
