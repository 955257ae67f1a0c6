"""What is measured of appends and of the connections to the database."""

from collections import Counter as Counted
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import Gauge

from shared.tally import Spreads, Tallies

_FAST: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds."""

_TOOK = Spreads("stagedoor_append_seconds", "Time from a command to the log's answer to it.", bounds=_FAST).labels()
_GATE = Spreads(
    "stagedoor_append_gate_wait_seconds", "Time that a group of commands stood at the gate.", bounds=_FAST
).labels()
_GROUP = Spreads(
    "stagedoor_append_group_commands",
    "Commands of one group.",
    bounds=(1, 2, 4, 8, 16, 32, 64, 128, 256),
).labels()
_OUTCOMES = Tallies("stagedoor_append_outcomes", "What became of commands.", ["outcome"])
_WAITING = Gauge("stagedoor_append_waiting", "Commands that wait for the log's answer.")
_POOL = Spreads(
    "stagedoor_pool_wait_seconds", "Time that a question waited for a connection, of those that had to.", bounds=_FAST
).labels()
_CONNECT = Spreads("stagedoor_pool_connect_seconds", "Time to make a connection for questions.", bounds=_FAST).labels()

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
        _OUTCOMES.labels(outcomes[0]).count += 1
        return
    for outcome, number in Counted(outcomes).items():
        _OUTCOMES.labels(outcome).add(number)


def not_answered(outcome: str) -> None:
    """A command was told that it failed, or that the log cannot be reached."""
    _OUTCOMES.labels(outcome).add()
