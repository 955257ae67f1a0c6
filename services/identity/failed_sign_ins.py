"""Sign-ins that failed, as facts: counted in memory, and written now and then, so that strangers cannot fill the log.

In each minute there is one fact for each user whose name was given, for so many users at most; all others are one. What
a process that was killed had counted is lost: the counters that slow guessers down are elsewhere (`throttle.py`).
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.identity.events import SignInsFailed
from shared.clock import Clock
from shared.ids import new_command_id, new_ordered_id
from shared.log.append import Append, Context, LogUnavailable
from shared.log.log import Log
from shared.telemetry import logger, new_correlation

_log = logger(__name__)

_MOST: Final = 100
"""Users that are told apart in one minute, and in all that could not be written yet."""


@dataclass(slots=True)
class _Count:
    first_at: datetime
    last_at: datetime
    wrong: int = 0
    not_looked_at: int = 0
    wrong_second_factor: int = 0


class FailedSignIns:
    """The failures that this process has seen."""

    def __init__(self, log: Log, clock: Clock, every: float = 60.0) -> None:
        """`every`: seconds between two writes."""
        self._log = log
        self._clock = clock
        self._every = every
        self._counts: dict[str | None, _Count] = {}

    def wrong(self, sub: str | None) -> None:
        """A password or a passkey was wrong, or its user may not sign in. None: nobody has it."""
        self._count(sub).wrong += 1

    def wrong_second_factor(self, sub: str) -> None:
        """The password was right, and the code or the passkey was not."""
        self._count(sub).wrong_second_factor += 1

    def not_looked_at(self) -> None:
        """An attempt was one too many."""
        self._count(None).not_looked_at += 1

    async def run(self) -> None:
        """Write until cancelled, and what is left then."""
        try:
            while True:
                await asyncio.sleep(self._every)
                await self.write()
        finally:
            await self.write()

    async def write(self) -> None:
        """Write what has been counted since the last time; where that cannot be done now, it waits for the next."""
        counts, self._counts = self._counts, {}
        written = await asyncio.gather(
            *(self._log.append(_append(sub, count)) for sub, count in counts.items()), return_exceptions=True
        )
        for (sub, count), outcome in zip(counts.items(), written, strict=True):
            if isinstance(outcome, LogUnavailable):
                _log.warning("failed_sign_ins_not_written", wrong=count.wrong)
                # When it was is what it was, however long it takes until it can be said.
                later = self._counts.setdefault(self._told_as(sub), count)
                if later is not count:
                    later.wrong += count.wrong
                    later.not_looked_at += count.not_looked_at
                    later.wrong_second_factor += count.wrong_second_factor
                    later.first_at = min(later.first_at, count.first_at)
                    later.last_at = max(later.last_at, count.last_at)
            elif isinstance(outcome, BaseException):
                raise outcome

    def _count(self, sub: str | None) -> _Count:
        sub = self._told_as(sub)
        now = self._clock()
        count = self._counts.get(sub)
        if count is None:
            count = self._counts[sub] = _Count(now, now)
        count.last_at = max(count.last_at, now)
        return count

    def _told_as(self, sub: str | None) -> str | None:
        """The user, if one more can be told apart from the others."""
        return sub if sub in self._counts or len(self._counts) < _MOST else None


def _append(sub: str | None, count: _Count) -> Append:
    event = SignInsFailed(
        sub=sub,
        wrong=count.wrong,
        not_looked_at=count.not_looked_at,
        wrong_second_factor=count.wrong_second_factor,
        first_at=count.first_at,
        last_at=count.last_at,
    )
    return Append(
        stream=f"failures-{new_ordered_id()}",
        expected_version=None,
        events=(event,),
        context=Context("service:identity", new_correlation(), new_command_id()),
    )
