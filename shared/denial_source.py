"""What the log denies, told in order: the one source of the feed over NATS and of `WatchDenials`."""

import time
from collections.abc import AsyncGenerator, Sequence

from shared.head import HeadReader, HeadReading
from shared.log.log import DenialSnapshot, Log, NumberedDenial
from shared.questions import Together
from shared.wake import Wake

_READ = 500
_REPEATED = 256
"""Denials that are told once more where nobody knows how far the telling has come."""

Told = DenialSnapshot | list[NumberedDenial] | HeadReading
"""All of it; the next few, which are never none; or that there is nothing more up to a head that was just read."""


class DenialSource:
    """Reads the log, and waits where there is nothing new."""

    def __init__(self, log: Log, wake: Wake, heads: HeadReader, heartbeat_seconds: float) -> None:
        self._log = log
        self._wake = wake
        self._heads = heads
        self._snapshots = Together(self._for_all)
        self._every = heartbeat_seconds

    async def follow(  # noqa: C901  (the course of one telling)
        self, number: int, epoch: int, *, snapshots: bool
    ) -> AsyncGenerator[Told]:
        """Everything after the denial of this number, of this epoch; for ever. Raises `LogUnavailable`.

        Numbers are dense. Where they cannot be gone on with (0, another epoch, a gap) a snapshot is told, and goes on
        after it; without `snapshots` the last few denials are told again, and a gap is the listeners' to notice.

        A head is told at once, and then at a steady rate, never before the denials up to it.
        """
        next_beat = time.monotonic()
        known = number > 0
        while True:
            if known and not snapshots:
                async for denials in self._at_once(number, epoch, next_beat):
                    yield denials
                    number = denials[-1].number
            mark = self._wake.mark
            reading = await self._heads.read()
            head = reading.head
            if not known or epoch != head.epoch or number > head.denial_number:
                known, epoch, number = True, head.epoch, max(0, head.denial_number - _REPEATED)
                if snapshots:
                    snapshot = await self._snapshots.ask(None)
                    yield snapshot
                    epoch, number = snapshot.head.epoch, snapshot.head.denial_number
            while known and number < head.denial_number:
                denials = await self._log.denials_after(number, _READ)
                if snapshots:
                    known = bool(denials) and denials[-1].number == number + len(denials)
                if known and denials:
                    yield denials
                number = denials[-1].number if denials else head.denial_number
            if not known:
                continue
            if time.monotonic() >= next_beat:
                yield reading
                next_beat = time.monotonic() + self._every
            await self._wake.after_denial(mark, epoch, number, next_beat - time.monotonic())

    async def _for_all(self, asking: Sequence[None]) -> list[DenialSnapshot]:
        """One reading for all who begin at the same moment: a caller may have a thousand streams, the pool has not."""
        return [await self._log.active_denials()] * len(asking)

    async def _at_once(self, number: int, epoch: int, until: float) -> AsyncGenerator[list[NumberedDenial]]:
        """What comes after a number until a moment (`time.monotonic`), read without asking for the head beforehand.

        A follower that is alone shares the readings of the head with nobody, so it saves one for each denial. It ends
        early where another epoch has begun. What else may be wrong shows when the head is read.
        """
        while time.monotonic() < until:
            mark = self._wake.mark
            denials = await self._log.denials_after(number, _READ)
            if any(denial.epoch != epoch for denial in denials):
                return
            if denials:
                yield denials
                number = denials[-1].number
            else:
                await self._wake.after_denial(mark, epoch, number, until - time.monotonic())
