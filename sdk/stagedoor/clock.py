"""The clock that goes on while the machine sleeps.

How recently something was heard must not be measured by a clock that stands still in a suspended laptop or a
paused virtual machine, nor by one that somebody can set.
"""

import time
from collections.abc import Callable
from functools import partial

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)

since_boot: Callable[[], float] = time.monotonic if _BOOTTIME is None else partial(time.clock_gettime, _BOOTTIME)
"""Seconds on the boot-time clock; on the monotonic clock where a system has none. Asked at every check."""
