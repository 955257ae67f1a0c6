"""Tracing within the test's own process."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry import correlation
from shared.tracing import spans
from shared.tracing.export import Tracing


class Traced:
    """What this process traces."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()

    def begin(self, ratio: float = 1.0) -> None:
        """Trace this share of the courses of events."""
        spans.start(Tracing("test", self._kept), ratio)

    def finished(self) -> list[ReadableSpan]:
        """Trace no more, and show what was."""
        spans.end()
        return list(self._kept.get_finished_spans())


@pytest.fixture
def traced() -> Iterator[Traced]:
    """Nothing is traced until the test says so, nor after it."""
    token = correlation.set("")
    yield Traced()
    spans.end()
    correlation.reset(token)
