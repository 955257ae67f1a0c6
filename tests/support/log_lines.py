"""What the code under test wrote to its log."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from shared.telemetry import configure_logging


class LogLines:
    """The lines that were logged since the last look."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured
        self.text = ""
        """Everything so far, as it was written."""

    def read(self) -> list[dict[str, Any]]:
        """All lines so far."""
        self.text += self._captured.readouterr().err
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def named(self, event: str) -> list[dict[str, Any]]:
        """The lines about one event."""
        return [line for line in self.read() if line["event"] == event]


@pytest.fixture
def log_lines(capsys: pytest.CaptureFixture[str]) -> Iterator[LogLines]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("test", "info")
    yield LogLines(capsys)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
