"""What is measured of appends and of the connections to the database."""

from collections import Counter as Counted
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_FAST: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds."""

_TOOK = Histogram("stagedoor_append_seconds", "Time from a command to the log's answer to it.", buckets=_FAST)
_GATE = Histogram(
    "stagedoor_append_gate_wait_seconds", "Time that a group of commands stood at the gate.", buckets=_FAST
)
_GROUP = Histogram(
    "stagedoor_append_group_commands",
    "Commands of one group.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
_OUTCOMES = Counter("stagedoor_append_outcomes", "What became of commands.", ["outcome"])
_WAITING = Gauge("stagedoor_append_waiting", "Commands that wait for the log's answer.")
_POOL = Histogram(
    "stagedoor_pool_wait_seconds", "Time that a question waited for a connection, of those that had to.", buckets=_FAST
)
_CONNECT = Histogram("stagedoor_pool_connect_seconds", "Time to make a connection for questions.", buckets=_FAST)

# All of them from the beginning: what first appears with a count of one has not grown, for Prometheus.
for _outcome in ("appended", "repeated", "conflict", "name_taken", "used", "fenced", "unavailable", "failed"):
    _OUTCOMES.labels(_outcome)

UNAVAILABLE: Final = "unavailable"
FAILED: Final = "failed"

pool_waited: Final = _POOL.observe
pool_connected: Final = _CONNECT.observe


def waiting(count: Callable[[], int]) -> None:
    """How many commands wait is asked when somebody looks."""
    _WAITING.set_function(count)


def answered(outcomes: Sequence[str], seconds: Iterable[float], gate_wait: str | None) -> None:
    """A group was answered; `seconds`: since each of its commands came."""
    _GROUP.observe(len(outcomes))
    if gate_wait:
        _GATE.observe(float(gate_wait))
    for took in seconds:
        _TOOK.observe(took)
    if len(outcomes) == 1:
        _OUTCOMES.labels(outcomes[0]).inc()
        return
    for outcome, number in Counted(outcomes).items():
        _OUTCOMES.labels(outcome).inc(number)


def not_answered(outcome: str) -> None:
    """A command was told that it failed, or that the log cannot be reached."""
    _OUTCOMES.labels(outcome).inc()
