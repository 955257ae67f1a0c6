"""The denial feed for a service that reads the log itself, and so needs neither NATS nor anybody else."""

from shared.head import HeadReader
from shared.log.append import LogUnavailable
from shared.log.log import Log, NumberedDenial
from shared.telemetry import logger
from shared.wake import Wake
from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot

_log = logger(__name__)

_READ = 500
_POLL_SECONDS = 1.0
_LEAST_BETWEEN = 0.02
"""Seconds between two looks for nothing but a new position. A token from beyond it has its guard ask at once."""


class LogFeed:
    """A `stagedoor.feed.Feed` that vouches for the head it has read from PostgreSQL."""

    def __init__(self, log: Log, wake: Wake) -> None:
        self._log = log
        self._wake = wake
        self._heads = HeadReader(log)
        self._view: DenialView | None = None
        self._reached = True

    async def run(self, view: DenialView) -> None:
        """Fill the view until cancelled."""
        self._view = view
        while True:
            mark = self._wake.mark
            try:
                await self._look(view)
                self._is(reached=True)
            except LogUnavailable:
                self._is(reached=False)
            await self._wake.after_denial(mark, view.epoch, view.number, _LEAST_BETWEEN)
            await self._wake.after(mark, _POLL_SECONDS)

    async def ping(self) -> None:
        """Read the head now, and what belongs to it."""
        if self._view is None:
            return
        try:
            await self._look(self._view)
        except LogUnavailable:
            self._is(reached=False)

    async def _look(self, view: DenialView) -> None:
        asked_at, known = since_boot(), view.position
        head = (await self._heads.read()).head
        if head.epoch != view.epoch or not await self._follow(view, head.denial_number):
            snapshot = await self._log.active_denials()
            denials = tuple(map(denial_of, snapshot.denials))
            head = snapshot.head
            view.replace(
                Snapshot(
                    position=head.position,
                    number=head.denial_number,
                    epoch=head.epoch,
                    denials=denials,
                    epochs=snapshot.epochs,
                )
            )
        view.vouch(head.position, head.denial_number, head.epoch, asked_at, known)

    async def _follow(self, view: DenialView, until: int) -> bool:
        """Take in the denials up to a number; whether that worked without a gap."""
        while view.number < until:
            before = view.number
            for numbered in await self._log.denials_after(before, _READ):
                if not view.apply(denial_of(numbered)):
                    return False
            if view.number == before:
                return False
        return True

    def _is(self, *, reached: bool) -> None:
        if reached != self._reached:
            _log.info("denials_followed" if reached else "denials_out_of_reach")
        self._reached = reached


def denial_of(numbered: NumberedDenial) -> Denial:
    """A denial of the log in the SDK's words, which are the same."""
    denial = numbered.denial
    return Denial(
        number=numbered.number,
        position=numbered.position,
        epoch=numbered.epoch,
        kind=DenialKind(denial.kind.value),
        id=denial.id,
        rule=DenialRule(denial.rule.value),
        except_id=denial.except_id,
        until=denial.until,
        recorded_at=numbered.recorded_at,
    )
