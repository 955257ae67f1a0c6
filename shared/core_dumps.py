"""What a process holds in its memory (keys, passwords on their way through) is written to no disk when it dies."""

import ctypes
import resource
import sys
from typing import Final

_SET_DUMPABLE: Final = 4
"""`PR_SET_DUMPABLE` of Linux (prctl(2))."""


def leave_none() -> None:
    """Have the system write no core dump of this process.

    The limit alone does not do where dumps are handed to a program (core(5)). Linux is told so besides; then other
    processes of the same user cannot look into this one either (ptrace(2)).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
