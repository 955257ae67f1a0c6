"""Metrics of what happens with every request.

Adding to a metric of `prometheus_client` takes a lock and several calls; three of them were a tenth of what a call over
gRPC costs. These are added to by the thread of the event loop alone, and read when Prometheus asks.
"""

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, Generic, TypeVar

from prometheus_client import REGISTRY, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS: Final = Histogram.DEFAULT_BUCKETS[:-1]
"""Bounds that suit most durations, as `prometheus_client` has them."""


class Tally:
    """One count. `count` may be added to directly."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int = 1) -> None:
        """Count so many more."""
        self.count += number


class Spread:
    """How values are spread: how many are up to each bound, and their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Take a value in."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


T = TypeVar("T")


class Family(Collector, Generic[T]):
    """A metric, with one member for each combination of its labels' values; the only one if it has no labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self._name = name
        self._documentation = documentation
        self._labelnames = tuple(labels)
        self._members: dict[tuple[str, ...], T] = {}
        if not labels:
            self.labels()
        REGISTRY.register(self)

    def labels(self, *values: object) -> T:
        """The member with these values."""
        texts = tuple(map(str, values))
        if len(texts) != len(self._labelnames):
            raise ValueError(f"{self._name} has the labels {', '.join(self._labelnames)}")
        if texts not in self._members:
            self._members[texts] = self._member()
        return self._members[texts]

    def describe(self) -> list[Metric]:
        """What it is, without its values."""
        return [self._told([])]

    def collect(self) -> list[Metric]:
        """What it says now."""
        return [self._told(list(self._members.items()))]

    @abstractmethod
    def _member(self) -> T:
        """A new one, of which nothing has been counted."""

    @abstractmethod
    def _told(self, members: Iterable[tuple[tuple[str, ...], T]]) -> Metric:
        """The metric, with these members."""


class Tallies(Family[Tally]):
    """A counter."""

    def _member(self) -> Tally:
        return Tally()

    def _told(self, members: Iterable[tuple[tuple[str, ...], Tally]]) -> Metric:
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, member in members:
            family.add_metric(values, member.count)
        return family


class Spreads(Family[Spread]):
    """A histogram."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS
    ) -> None:
        self._bounds = tuple(map(float, bounds))
        self._texts = [*map(str, self._bounds), "+Inf"]
        super().__init__(name, documentation, labels)

    def _member(self) -> Spread:
        return Spread(self._bounds)

    def _told(self, members: Iterable[tuple[tuple[str, ...], Spread]]) -> Metric:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, member in members:
            buckets = list(zip(self._texts, accumulate(member.counts), strict=True))
            family.add_metric(values, buckets, member.total)
        return family
