"""A resource server's guard, and the wire to it: what the log says comes late, twice, out of order, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.log.append import Head
from shared.log.log import DenialSnapshot
from shared.log_feed import denial_of
from stagedoor import Guard
from stagedoor.denials import Denial, DenialView, Snapshot
from stagedoor.keys import KeySource
from tests.properties.token_life.database import HeldClock
from tests.properties.token_life.model import LOOKED_UP_AGAIN
from tests.properties.token_life.reference_desk import AsOfTheHead


class _Nothing:
    """A feed that tells nothing by itself."""

    async def run(self, view: DenialView) -> None:
        """The test tells the view."""

    async def ping(self) -> None:
        """Nobody answers."""


@dataclass(frozen=True)
class Beat:
    """A head, and when it was read."""

    head: Head
    read_at: float


class Wire:
    """All that was ever sent, so that it can be delivered at any time."""

    def __init__(self) -> None:
        self.denials: list[Denial] = []
        self.number = 0
        """Of the last denial that was sent."""
        self.beats: list[Beat] = []
        self.snapshots: list[tuple[Snapshot, float]] = []

    def note(self, denials: Sequence[Denial], head: Head, read_at: float) -> None:
        self.denials.extend(denials)
        self.number = head.denial_number
        self.beats.append(Beat(head, read_at))

    def take_snapshot(self, snapshot: DenialSnapshot, read_at: float) -> None:
        head, denials = snapshot.head, tuple(map(denial_of, snapshot.denials))
        taken = Snapshot(
            position=head.position,
            number=head.denial_number,
            epoch=head.epoch,
            denials=denials,
            epochs=snapshot.epochs,
        )
        self.snapshots.append((taken, read_at))


class Edge:
    """One process that checks tokens."""

    def __init__(
        self, wire: Wire, clock: HeldClock, keys: KeySource, online: AsOfTheHead, issuer: str, audience: str
    ) -> None:
        self._wire = wire
        self._clock = clock
        self._online = online
        self.guard = Guard(
            issuer=issuer,
            audience=audience,
            feed=_Nothing(),
            keys=keys,
            online=online,
            wait=0.0,
            now=clock.seconds,
            boot=clock.since_boot,
        )

    @property
    def view(self) -> DenialView:
        return self.guard.view

    @property
    def fresh(self) -> bool:
        return self.view.loaded and self.view.fresh(self._clock.since_boot())

    def begin(self, which: int = -1) -> None:
        """Load a snapshot that was asked for, and so is a voucher."""
        snapshot, asked_at = self._wire.snapshots[which % len(self._wire.snapshots)]
        self.view.replace(snapshot, asked_at)

    def deliver_denial(self, which: int) -> None:
        if self._wire.denials:
            self.view.apply(self._wire.denials[which % len(self._wire.denials)])

    def deliver_beat(self, which: int, *, answer: bool) -> None:
        """A heartbeat; or the answer to a ping, which proves when it was asked for."""
        beat = self._wire.beats[which % len(self._wire.beats)]
        sent_at = beat.read_at if answer else None
        self.view.vouch(beat.head.position, beat.head.denial_number, beat.head.epoch, sent_at)

    def catch_up(self) -> None:
        """Everything, in order, and the newest answer."""
        for denial in self._wire.denials:
            self.view.apply(denial)
        self.deliver_beat(-1, answer=True)

    def prune(self) -> None:
        """Forget what can match no token that is alive, as a running guard does each minute."""
        self.view.prune(self._clock.seconds(), skew=10.0)

    def allows(self, token: str) -> bool:
        return not hasattr(self.guard.check(token), "reason")

    async def looks_up(self, token: str) -> bool:
        """Whether it allows a reference token, about which it asks where it does not know."""
        return not hasattr(await self.guard.validate(token), "reason")

    def refused_lately(self, token: str) -> bool:
        """Whether whom it asks has refused this reference token so lately that it does not ask again."""
        refused = self._online.refused.get(token)
        return refused is not None and self._clock.now < refused + LOOKED_UP_AGAIN
