"""Questions to `Validate` that were allowed a moment ago, so that asking them again costs next to nothing.

A question is remembered by its bytes, as its caller sent them. It stays allowed for as long as nothing has changed that
could change the answer: no denial has come, the view of them is recent, and a second has not passed. That bounds what a
changed list of callers, or a key that is gone, needs to be seen; what expires sooner is not remembered at all.
"""

from collections.abc import Callable
from typing import Final

from stagedoor.denials import DenialView

SECONDS: Final = 1.0
_SPARE: Final = 2.0
"""Seconds that a token has to live on to be remembered: more than it is remembered for."""
_MOST: Final = 20_000
"""Questions; each is as long as its token."""


class Remembered:
    """The questions that are allowed as things stand."""

    def __init__(self, view: DenialView, boot: Callable[[], float]) -> None:
        self._view = view
        self._boot = boot
        self._stand: tuple[int, int] = (0, 0)
        self._since = float("-inf")
        self._allowed: dict[str, set[bytes]] = {}
        self._count = 0

    def of(self, caller: str) -> set[bytes]:
        """The questions of this caller that are allowed now; to be used at once, and not kept."""
        view, now = self._view, self._boot()
        stand = (view.epoch, view.number)
        if stand != self._stand or now - self._since > SECONDS or view.incomplete or not view.fresh(now):
            self._allowed.clear()
            self._stand, self._since, self._count = stand, now, 0
        return self._allowed.setdefault(caller, set())

    def add(self, caller: str, question: bytes, stand: tuple[int, int], seconds_left: float) -> None:
        """Remember a question that was allowed when the view stood so."""
        if seconds_left > _SPARE and stand == self._stand and self._count < _MOST:
            self._allowed.setdefault(caller, set()).add(question)
            self._count += 1

    @property
    def stand(self) -> tuple[int, int]:
        """Where the view stands; to be read before a question is judged."""
        return self._view.epoch, self._view.number


def questions_in(batch: bytes) -> list[bytes] | None:
    """The bytes of each question in a `ValidateBatchRequest`; None where that has to be parsed to know.

    That message has one field, number 1, repeated: each is a byte for field and kind, a length, and so many bytes
    (Protocol Buffers, "Encoding"). Lengths of one or two bytes are read here.
    """
    found = []
    at, end = 0, len(batch)
    try:
        while at < end:
            size = batch[at + 1]
            if batch[at] != 0x0A:
                return None
            at += 2
            if size & 0x80:
                more = batch[at]
                if more & 0x80:
                    return None
                size += (more << 7) - 0x80
                at += 1
            found.append(batch[at : at + size])
            at += size
    except IndexError:
        return None
    return found if at == end else None
