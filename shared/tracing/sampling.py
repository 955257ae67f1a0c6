"""Which courses of events are traced, and how the ids of events name traces and spans.

Every event has the correlation id of its course and the id of the command that wrote it. Both are random, so the first
is the trace's id and the second tells the id of the span of the append: a trace goes through the log without a word
being added to it (decision 99). Whether a course is traced follows from its id alone, so that all processes decide
alike. That is safe for as long as strangers choose no such id (`shared.telemetry.accept_correlation`).
"""

from base64 import urlsafe_b64decode
from uuid import UUID

_WORD = 1 << 64
_bound = 0
"""A course is traced if the lower half of its trace's id is below this; 0: none is."""


def begin(ratio: float) -> None:
    """Trace this share of the courses (0 to 1) from now on, by the rule of OpenTelemetry's `TraceIdRatioBased`."""
    global _bound  # noqa: PLW0603  (one process, one rule)
    _bound = round(ratio * _WORD)


def traced(correlation_id: str) -> int:
    """The id of the course's trace; 0 if it is not traced. `correlation_id`: 22 characters of base64url."""
    if not _bound:
        return 0
    try:
        trace_id = int.from_bytes(urlsafe_b64decode(f"{correlation_id}=="))
    except ValueError:
        return 0
    return trace_id if trace_id % _WORD < _bound and trace_id < _WORD * _WORD else 0


def trace_id_text(trace_id: int) -> str:
    """As it is written (W3C Trace Context section 3.2.2.3)."""
    return f"{trace_id:032x}"


def span_of_command(command_id: UUID) -> int:
    """The id of the span of the append of a command. Two random ids of one trace are never the same."""
    return command_id.int % _WORD or 1
