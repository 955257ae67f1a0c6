"""Rebuilding and comparing from a service's own host, where no administrator has to be asked: what the command does."""

import argparse
import sys
from collections.abc import Sequence

from shared.log.log import Log
from shared.rebuild.comparing import differences
from shared.rebuild.projection import Projection
from shared.rebuild.rebuilding import rebuild


def only_checking(description: str) -> bool:
    """Whether `--check` stands on the command line: change nothing, tell which rows differ."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="change nothing; tell which rows differ")
    return bool(parser.parse_args().check)


async def carry_out(log: Log, projections: Sequence[Projection], *, check: bool) -> int:
    """Do it, and say on standard output what came of it; answers the exit status. Raises `Refusal`."""
    if not check:
        for projection in projections:
            async for told in rebuild(log, projection):
                if told.live:
                    print(f"{told.projection}: rebuilt; live as of position {told.position}")
        return 0
    found = await differences(log, projections)
    for one in found:
        print(one.table, ", ".join(f"{name}={value}" for name, value in one.key.items()), one.what)
    return 1 if found else 0


def refused(message: str, code: str) -> int:
    """Say on standard error why it did not work; answers the exit status."""
    print(f"stagedoor: {message} ({code})", file=sys.stderr)
    return 1
