"""What guards measure, for Prometheus (the extra `prometheus` of this package).

    guards = GuardCollector()
    REGISTRY.register(guards)
    guards.add(guard)

Nothing is counted on the way of a check but a whole number; the rest is looked up when somebody asks.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from weakref import WeakSet

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stagedoor.clock import since_boot
from stagedoor.denials import Denial
from stagedoor.guard import Guard

_LABELS: Final = ["audience"]
_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)


class GuardCollector(Collector):
    """Tells of any number of guards, each by its audience; of none that is gone."""

    def __init__(self) -> None:
        self._guards: WeakSet[Guard] = WeakSet()
        self._delay = Histogram(
            "stagedoor_guard_denial_delay_seconds",
            "Time from the record of a denial to its being applied here, by the clocks of PostgreSQL and this machine.",
            _LABELS,
            buckets=_BUCKETS,
            registry=CollectorRegistry(),
        )

    def add(self, guard: Guard) -> None:
        """Tell of this guard, too."""
        delay = self._delay.labels(guard.audience)

        def arrived(denial: Denial) -> None:
            if denial.recorded_at is not None:
                delay.observe(max(0.0, (datetime.now(UTC) - denial.recorded_at).total_seconds()))

        guard.view.on_denial = arrived
        self._guards.add(guard)

    def collect(self) -> Iterator[Metric]:
        """What there is to tell now."""
        age = GaugeMetricFamily(
            "stagedoor_guard_view_age_seconds",
            "Since it was last known that no denial is missing; infinite before the first time.",
            labels=_LABELS,
        )
        bound = GaugeMetricFamily(
            "stagedoor_guard_max_staleness_seconds", "Age past which the view decides nothing.", labels=_LABELS
        )
        position = GaugeMetricFamily(
            "stagedoor_guard_position", "Log position up to which denials are known.", labels=_LABELS
        )
        held = GaugeMetricFamily("stagedoor_guard_denials", "Denials that are held.", labels=_LABELS)
        verdicts = CounterMetricFamily(
            "stagedoor_guard_verdicts", "Verdicts of `validate`.", labels=["audience", "reason"]
        )
        now = since_boot()
        for guard in tuple(self._guards):
            view, labels = guard.view, [guard.audience]
            age.add_metric(labels, view.age(now))
            bound.add_metric(labels, view.max_staleness)
            position.add_metric(labels, view.position)
            held.add_metric(labels, len(view))
            verdicts.add_metric([guard.audience, "allowed"], guard.accepted)
            for reason, number in tuple(guard.refused.items()):
                verdicts.add_metric([guard.audience, reason.value], number)
        yield from (age, bound, position, held, verdicts)
        yield from self._delay.collect()
