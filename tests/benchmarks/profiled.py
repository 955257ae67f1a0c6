"""The token issuer with a sampling profiler in it.

    python -m tests.benchmarks.profiled FILE      SIGUSR1 begins, SIGUSR2 ends and writes what was seen to FILE

For each millisecond of processor time it notes where Python is. That costs little and slows nothing in particular;
what C does counts where Python called it from, or, for the event loop, where it goes on.
"""

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.001
_DEEPEST = 60
_seen: Counter[tuple[str, ...]] = Counter()


def main() -> None:
    """Run the service."""
    path = Path(sys.argv[1])

    def begin(_: int, __: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def end(_: int, __: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        path.with_suffix(".draft").write_text(json.dumps(list(_seen.items())))
        path.with_suffix(".draft").rename(path)

    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    sys.argv = ["token_issuer"]
    runpy.run_module("services.token_issuer.main", run_name="__main__")


def _sample(_: int, frame: FrameType | None) -> None:
    """Note the frames, the innermost first."""
    frames: list[str] = []
    while frame is not None and len(frames) < _DEEPEST:
        code = frame.f_code
        frames.append(f"{code.co_filename}:{code.co_qualname}")
        frame = frame.f_back
    _seen[tuple(frames)] += 1


if __name__ == "__main__":
    main()
