"""Runs a program that ends when the process that started it ends, however that one ends.

    python leash.py <pid of the starter> <program> <arguments ...>

A wrapper, and not code between fork and exec: a starter with threads (gRPC has some) cannot run Python there.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this signal to this process when its parent ends; elsewhere than on Linux, do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)


def main() -> None:
    """Ask the kernel for the signal, then become the program."""
    starter, program, *arguments = sys.argv[1:]
    end_with_parent(signal.SIGKILL)
    if os.getppid() != int(starter):
        sys.exit("the process that started this one is gone")
    os.execv(program, [program, *arguments])  # noqa: S606  (no shell is the point)


if __name__ == "__main__":
    main()
