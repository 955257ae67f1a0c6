"""Something long tells how far it is: beside the output, and not to programs."""

import pytest

from services.cli import progress as module
from services.cli.progress import progress


class Moments:
    """A clock that goes on by five seconds each time that it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 5.0
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Moments:
    moments = Moments()
    monkeypatch.setattr(module, "monotonic", moments)
    return moments


def test_without_a_terminal_there_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(10_000, "events", what="own") as advance:
        for done in range(0, 10_001, 1000):
            advance(done)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "own: 1,000 of 10,000 events, 100 a second, 90 s left"
    assert len(said.err.splitlines()) == 5


def test_nothing_is_said_beside_json(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(10, "events", quiet=True) as advance:
        for done in range(11):
            advance(done)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress(1000, "events", what="own") as advance:
        for done in range(0, 1000, 100):
            advance(done)
    said = capsys.readouterr().err
    assert "events/s" in said
    assert "/1000" in said
