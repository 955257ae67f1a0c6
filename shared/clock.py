"""The wall clock, in one place, so that tests can hold it.

Clocks never order anything: positions do. A clock only bounds how long something lives.
"""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the present moment, with time zone UTC."""


def system_clock() -> datetime:
    """The machine's clock, in UTC."""
    return datetime.now(UTC)
