"""The time by the log's clock, which stamps every event: so no replica's own clock decides what has expired."""

from datetime import datetime, timedelta

from shared.clock import Clock, system_clock


class LogClock:
    """This machine's clock, corrected by what the database last said."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        """The present moment, in UTC."""
        return self._clock() + self._ahead

    def learn(self, moment: datetime) -> None:
        """The database has just said what time it is."""
        self._ahead = moment - self._clock()
