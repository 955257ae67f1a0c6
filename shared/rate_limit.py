"""A limit on how often something may happen: token buckets, in this process alone, in bounded memory.

Each key has a bucket that is full at first. What is charged is taken out, and it fills again steadily; when less than
one is left, the answer is no. Only keys that have been charged and have not filled up again take memory, and of those
no more than `capacity`: past that the one that was charged longest ago is forgotten. That lets somebody with very many
keys off a little early, and never keeps anybody out.

Replicas do not share their buckets, so with three of them somebody may fail three times as often.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from shared.errors import TooManyRequests

_CAPACITY = 10_000


@dataclass(frozen=True, slots=True)
class Budget:
    """How often something may happen at once, and how fast that comes back."""

    burst: int
    fade_seconds: float
    """Time after which one is forgotten."""


class RateLimit:
    """One bucket for each key."""

    def __init__(
        self, budget: Budget, *, capacity: int = _CAPACITY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if budget.burst < 1 or budget.fade_seconds <= 0 or capacity < 1:
            raise ValueError("a budget admits something, and so does a table")
        self._burst = budget.burst
        self._fade = budget.fade_seconds
        self._capacity = capacity
        self._clock = clock
        self._empty_at: OrderedDict[Hashable, float] = OrderedDict()
        """When everything that was charged is forgotten, by key; the key that was charged longest ago comes first."""

    def __len__(self) -> int:
        return len(self._empty_at)

    def check(self, key: Hashable) -> None:
        """Raises `TooManyRequests` if nothing is left for the key. Charges nothing."""
        if not self._empty_at:
            return
        now = self._clock()
        self._forget(now)
        charged = (self._empty_at.get(key, now) - now) / self._fade
        if charged > self._burst - 1:
            raise TooManyRequests((charged - (self._burst - 1)) * self._fade)

    def failed(self, key: Hashable) -> None:
        """Charge the key, whether something is left or not; never more than what the bucket holds.

        So who was let in side by side with others does not wait longer than who came alone.
        """
        now = self._clock()
        since = max(now, self._empty_at.pop(key, now))
        self._empty_at[key] = min(since + self._fade, now + self._burst * self._fade)
        self._forget(now)

    def take(self, key: Hashable) -> None:
        """Check and charge in one."""
        self.check(key)
        self.failed(key)

    def _forget(self, now: float) -> None:
        """Drop one or two of those that were charged longest ago, if they are forgotten by now or too many.

        Two, because each charge adds one: so the table shrinks however busy it is.
        """
        for _ in range(2):
            oldest = next(iter(self._empty_at), None)
            if oldest is None or (self._empty_at[oldest] > now and len(self._empty_at) <= self._capacity):
                return
            del self._empty_at[oldest]
