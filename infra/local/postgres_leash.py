"""Runs PostgreSQL as the user it is given, and has it shut down when the process that started it ends.

    python postgres_leash.py <pid of the starter> <user id> <group id> <program> <arguments ...>

The kernel forgets the wish for a signal when a process changes its user, so the order here matters. SIGINT is
PostgreSQL's fast shutdown: open transactions are rolled back and nothing has to be recovered at the next start.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Change the user, ask the kernel for the signal, then become the program."""
    starter, user, group, program, *arguments = sys.argv[1:]
    if os.geteuid() != int(user):
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != int(starter):
            sys.exit("the process that started this one is gone")
    os.execv(program, [program, *arguments])  # noqa: S606  (no shell is the point)


if __name__ == "__main__":
    main()
