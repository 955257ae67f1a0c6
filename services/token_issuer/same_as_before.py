"""Answers of pure rules that need not be found again, because nothing that they depend on has changed."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST = 4096


class SameAsBefore(Generic[T]):
    """Keeps the last answer of a rule for each question.

    What the tables know of an application is the very same object for as long as it has not changed
    (`read_model.Questions`), so identity is enough to see that an answer still holds, and nothing is compared in depth.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._answers: dict[Hashable, tuple[tuple[object, ...], T]] = {}

    def of(self, question: Hashable, parts: tuple[object, ...], rule: Callable[[], T]) -> T:
        """The answer of `rule` to `question` about `parts`. What it raises is not kept."""
        found = self._answers.get(question)
        if found is not None:
            for before, now in zip(found[0], parts, strict=True):
                if before is not now:
                    break
            else:
                return found[1]
        answer = rule()
        if len(self._answers) >= self._most:
            self._answers.clear()
        self._answers[question] = (parts, answer)
        return answer
