"""Runs a service whose machine's clock is ahead.

python -m tests.support.clock_ahead <seconds> <module of the service>

Only the wall clock is moved, in every place where Python code of the process asks for it; what counts how long
something takes (the monotonic clocks) is left alone, as it is when a machine's clock is set wrong.
"""

import runpy
import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import shared.clock
import shared.head


def set_ahead(seconds: float) -> None:
    """From now on it is so much later."""
    real_time = time.time

    class Ahead(datetime):
        """Its present moment is not the world's."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            """Later."""
            return super().now(tz) + timedelta(seconds=seconds)

    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: int((real_time() + seconds) * 1_000_000_000)
    shared.clock.system_clock = lambda: datetime.now(UTC) + timedelta(seconds=seconds)
    shared.head.datetime = Ahead  # type: ignore[attr-defined]


if __name__ == "__main__":
    set_ahead(float(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
