"""A background worker without an event loop. Each job brings along the token of whoever asked for it.

It is judged again when the job's turn comes: by then it may have ended, or have been taken back.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stagedoor import Denied
from stagedoor.thread import GuardThread


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to do, and with whose permission."""

    seat: str
    token: str


def work(
    guard: GuardThread, jobs: Iterable[Job], sell: Callable[[str, str], None], again: Callable[[Job], None]
) -> int:
    """Do the jobs, and answer how many were done. `again` takes those that cannot be decided now."""
    done = 0
    for job in jobs:
        verdict = guard.validate(job.token, scopes=["update"])
        if not isinstance(verdict, Denied):
            sell(job.seat, verdict.sub)
            done += 1
        elif verdict.temporary:
            again(job)
    return done
