"""The clock that goes on while the machine sleeps.

How recently something was heard must not be measured by a clock that stands still in a suspended laptop or a
paused virtual machine, nor by one that somebody can set.
"""

import time

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


def since_boot() -> float:
    """Seconds on the boot-time clock; on the monotonic clock where a system has none."""
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)
