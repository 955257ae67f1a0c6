"""When reference tokens were last used: gathered in memory, and written now and then with one statement for all.

It is for people who ask themselves which token may go, so a minute more or less is nothing, and what a process that
was killed had gathered is lost. Only the first use on each day becomes a fact: auditors ask the same of days gone by,
and a fact for each use would make the log grow with every look-up.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from services.token_issuer.events import ReferenceTokenUsed
from services.token_issuer.references.tables import ReferenceQuestions
from shared.clock import Clock
from shared.ids import new_command_id, new_ordered_id
from shared.log.append import Append, Context, LogUnavailable
from shared.log.log import Log
from shared.telemetry import logger, new_correlation

_log = logger(__name__)

_MOST = 50_000
"""Tokens that are remembered until they are written; of more, the last use of some is told too early."""
_AT_ONCE = 100
"""Facts that wait side by side to be appended."""


class Uses:
    """The uses that this process has seen."""

    def __init__(self, log: Log, questions: ReferenceQuestions, clock: Clock, every: float = 5.0) -> None:
        """`every`: seconds between two writes."""
        self._log = log
        self._questions = questions
        self._clock = clock
        self._every = every
        self._seen: dict[str, datetime] = {}

    def note(self, jti: str) -> None:
        """A token was used just now."""
        if jti in self._seen or len(self._seen) < _MOST:
            self._seen[jti] = self._clock()

    async def run(self) -> None:
        """Write until cancelled, and what is left then."""
        try:
            while True:
                await asyncio.sleep(self._every)
                await self.write()
        finally:
            await self.write()

    async def write(self) -> None:
        """Write what has been seen since the last time; where that cannot be done now, it waits for the next."""
        seen, self._seen = self._seen, {}
        if not seen:
            return
        try:
            first_today = await self._questions.write_uses(seen)
        except LogUnavailable:
            _log.warning("last_uses_not_written", tokens=len(seen))
            self._seen = dict(islice((seen | self._seen).items(), _MOST))
            return
        for some in _batched(first_today):
            try:
                async with asyncio.TaskGroup() as appending:
                    for jti in some:
                        appending.create_task(self._log.append(_used(jti, seen[jti])))
            except* LogUnavailable:
                _log.warning("last_uses_no_fact", tokens=len(some))


def _batched(jtis: Sequence[str]) -> Iterator[Sequence[str]]:
    """A few at a time: on a new day there may be very many, and tokens are given by the same appends."""
    return (jtis[start : start + _AT_ONCE] for start in range(0, len(jtis), _AT_ONCE))


def _used(jti: str, at: datetime) -> Append:
    return Append(
        stream=f"use-{new_ordered_id()}",
        expected_version=None,
        events=(ReferenceTokenUsed(jti=jti, used_at=at),),
        context=Context("service:token_issuer", new_correlation(), new_command_id()),
    )
