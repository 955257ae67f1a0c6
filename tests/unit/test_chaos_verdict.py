"""The verdict on a run finds what it is there to find."""

import pytest

from tests.chaos.journal import Journal, Operation, Outcome
from tests.chaos.verdict import Verdict, Written, judge


def written(operation: Operation, *types: str, stream: str = "x", first: int = 1) -> list[Written]:
    course = operation.courses[-1]
    return [
        Written(first + number, stream, first + number, kind, {"jti": "one"}, course)
        for number, kind in enumerate(types)
    ]


def begun(outcome: Outcome, *writes: str, position: int | None = None) -> tuple[Journal, Operation]:
    journal = Journal()
    operation = journal.begin("something", *writes, beside=("c",))
    operation.attempt()
    operation.outcome, operation.position = outcome, position
    return journal, operation


def summary(verdict: Verdict) -> tuple[int, int, int]:
    return len(verdict.lost), len(verdict.doubled), len(verdict.wrong)


@pytest.mark.parametrize(
    ("outcome", "there", "expected"),
    [
        (Outcome.ACKNOWLEDGED, ("a", "b"), (0, 0, 0)),
        (Outcome.ACKNOWLEDGED, ("c", "a", "b"), (0, 0, 0)),
        (Outcome.ACKNOWLEDGED, (), (1, 0, 0)),
        (Outcome.ACKNOWLEDGED, ("a",), (1, 0, 0)),
        (Outcome.ACKNOWLEDGED, ("a", "b", "a", "b"), (0, 1, 0)),
        (Outcome.ACKNOWLEDGED, ("a", "b", "c", "c"), (0, 1, 0)),
        (Outcome.ACKNOWLEDGED, ("a", "b", "d"), (0, 1, 0)),
        (Outcome.UNKNOWN, (), (0, 0, 0)),
        (Outcome.UNKNOWN, ("a", "b"), (0, 0, 0)),
        (Outcome.UNKNOWN, ("a",), (0, 0, 1)),
        (Outcome.UNKNOWN, ("a", "b", "b"), (0, 1, 0)),
        (Outcome.REFUSED, (), (0, 0, 0)),
        (Outcome.REFUSED, ("c",), (0, 0, 0)),
        (Outcome.REFUSED, ("a",), (0, 0, 1)),
        (Outcome.REFUSED, ("a", "b"), (0, 0, 1)),
        (Outcome.REFUSED, ("d",), (0, 0, 1)),
    ],
)
def test_what_was_told_and_what_is_there(
    outcome: Outcome, there: tuple[str, ...], expected: tuple[int, int, int]
) -> None:
    journal, operation = begun(outcome, "a", "b")
    assert summary(judge(journal, written(operation, *there))) == expected


def test_all_attempts_at_one_operation_are_one() -> None:
    journal, operation = begun(Outcome.ACKNOWLEDGED, "a")
    first = written(operation, "a")
    operation.attempt()
    assert summary(judge(journal, [*first, *written(operation, "a", first=2)])) == (0, 1, 0)


@pytest.mark.parametrize(("position", "expected"), [(2, (0, 0, 0)), (1, (0, 0, 1)), (7, (0, 0, 1))])
def test_it_is_where_it_was_acknowledged(position: int, expected: tuple[int, int, int]) -> None:
    journal, operation = begun(Outcome.ACKNOWLEDGED, "a", "b", position=position)
    assert summary(judge(journal, written(operation, "a", "b"))) == expected


@pytest.mark.parametrize(("jti", "expected"), [("one", (0, 0, 0)), ("other", (0, 0, 1))])
def test_the_answer_tells_of_its_own_event(jti: str, expected: tuple[int, int, int]) -> None:
    journal, operation = begun(Outcome.ACKNOWLEDGED, "a")
    operation.acknowledged(1, jti=jti)
    assert summary(judge(journal, written(operation, "a"))) == expected


def test_positions_and_versions_are_dense() -> None:
    journal = Journal()
    event = Written(2, "x", 1, "a", {}, "")
    assert summary(judge(journal, [event])) == (0, 0, 1)
    one, other = (Written(position, "x", 1, "a", {}, "") for position in (1, 2))
    assert summary(judge(journal, [one, other])) == (0, 0, 1)


def test_what_nobody_should_be_answered_is_wrong() -> None:
    journal = Journal()
    journal.wrong.append("500")
    assert not judge(journal, []).clean
