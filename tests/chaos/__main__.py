"""`make chaos SEED=n`: a seeded fault run under load.

python -m tests.chaos --seed N --seconds S

Every service is killed and paused in turn, with PostgreSQL, its back-ends and three servers of NATS; disks run full,
messages come late, twice and in disorder; one token issuer's clock is an hour ahead; in the end a back-up is restored.
Meanwhile people and services work. Prints what was tried, acknowledged, refused, lost and doubled; exit status 0 only
if nothing was lost or doubled, or is otherwise not as it was acknowledged.
"""

import argparse
import asyncio
import shutil
import sys

from infra.local.failure import SystemFailure
from tests.chaos.disks import keep_mounts_private
from tests.chaos.run import run
from tests.support.system import new_folder


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Run, and say what came of it."""
    arguments = argparse.ArgumentParser(prog="python -m tests.chaos", description="A seeded fault run under load.")
    arguments.add_argument("--seed", type=int, default=1, help="decides what is done and when")
    arguments.add_argument("--seconds", type=float, default=60.0, help="how long faults go on, at least")
    arguments.add_argument("--few", action="store_true", help="only those faults that take little time")
    given = arguments.parse_args()
    keep_mounts_private()
    folder = new_folder()
    try:
        report = asyncio.run(run(folder, given.seed, given.seconds, few=given.few, say=_say))
    except SystemFailure as failure:
        print(f"stagedoor: {failure}; the folder is {folder}", file=sys.stderr)
        raise SystemExit(1) from None
    print("\n".join(report.lines()))
    if not report.clean:
        print(f"the folder is {folder}", file=sys.stderr)
        raise SystemExit(1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
