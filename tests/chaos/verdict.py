"""Holds a journal against the log: is everything there that was acknowledged, once, whole, and where it was said?"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.journal import Journal, Operation, Outcome


@dataclass(frozen=True, slots=True)
class Written:
    """One event as it stands in the log."""

    position: int
    stream: str
    version: int
    type: str
    data: dict[str, Any]
    course: str

    @classmethod
    def of(cls, row: Any) -> "Written":
        """From a row of `log.events`."""
        return cls(
            row["position"],
            row["stream"],
            row["version"],
            row["type"],
            json.loads(row["data"] or "{}"),
            row["correlation_id"],
        )


WHOLE_LOG = "SELECT position, stream, version, type, data, correlation_id FROM log.events ORDER BY position"


@dataclass
class Verdict:
    """What is wrong; nothing, if all is well."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Half done, elsewhere than acknowledged, done though refused, out of order."""

    @property
    def clean(self) -> bool:
        """Whether nothing is."""
        return not (self.lost or self.doubled or self.wrong)


def judge(journal: Journal, log: list[Written]) -> Verdict:
    """Compare."""
    verdict = Verdict(wrong=list(journal.wrong))
    by_course: dict[str, list[Written]] = defaultdict(list)
    for event in log:
        by_course[event.course].append(event)
    for operation in journal.operations:
        found = [event for course in operation.courses for event in by_course[course]]
        _judge(operation, sorted(found, key=lambda event: event.position), verdict)
    _order(log, verdict)
    return verdict


def _judge(operation: Operation, found: list[Written], verdict: Verdict) -> None:
    about = f"{operation.what} ({operation.outcome}, {', '.join(operation.courses)}): "
    told = about + (", ".join(f"{event.type} at {event.position}" for event in found) or "nothing")
    counted = Counter(event.type for event in found)
    expected = Counter(operation.writes)
    if any(counted[kind] > max(expected[kind], kind in operation.beside) for kind in counted):
        # What was refused and is there all the same was never to be written at all.
        (verdict.wrong if operation.outcome is Outcome.REFUSED else verdict.doubled).append(told)
        return
    core = [event for event in found if event.type in expected]
    match operation.outcome:
        case Outcome.REFUSED:
            if core:
                verdict.wrong.append(f"done though refused: {told}")
        case Outcome.UNKNOWN:
            if core and len(core) < len(operation.writes):
                verdict.wrong.append(f"half done: {told}")
        case Outcome.ACKNOWLEDGED:
            _judge_acknowledged(operation, core, told, verdict)


def _judge_acknowledged(operation: Operation, core: list[Written], told: str, verdict: Verdict) -> None:
    if len(core) < len(operation.writes):
        verdict.lost.append(told)
    elif core:
        last = core[-1]
        if operation.position not in (None, last.position):
            verdict.wrong.append(f"acknowledged at {operation.position}: {told}")
        differing = {name for name, value in operation.says.items() if last.data.get(name) != value}
        if differing:
            verdict.wrong.append(f"the answer and the event differ in {', '.join(sorted(differing))}: {told}")


def _order(log: list[Written], verdict: Verdict) -> None:
    """Positions are dense, and so are the versions of each stream, in the order of positions."""
    versions: Counter[str] = Counter()
    for place, event in enumerate(log, start=1):
        if event.position != place:
            verdict.wrong.append(f"position {place} is missing; there is {event.position} instead")
            return
        versions[event.stream] += 1
        if event.version != versions[event.stream]:
            verdict.wrong.append(f"{event.stream} has version {event.version} at {event.position} as its next")
