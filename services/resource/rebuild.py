"""Makes this service's tables again from the log while it runs, or holds them against it.

    python -m services.resource.rebuild [--check]     with the settings of the service

No management call does it: an administrator's token is not to be shown to this service. Exit status 1: rows differ, or
it did not work.
"""

import argparse
import asyncio
import sys

from services.resource import events
from services.resource.projections import PROJECTIONS
from shared.errors import Refusal
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.rebuild.comparing import differences
from shared.rebuild.rebuilding import rebuild
from shared.settings import ServiceSettings, load, read_secret
from shared.telemetry import configure_logging


async def main(*, check: bool) -> int:
    """Do it; answers the exit status."""
    settings = load(ServiceSettings)
    configure_logging("resource", settings.log_level)
    password = read_secret(settings.database_password_file, "the database password")
    log = await Log.open(settings.database, password, Catalogue.of(events))
    try:
        if not check:
            for projection in PROJECTIONS:
                async for told in rebuild(log, projection):
                    if told.live:
                        print(f"{told.projection}: rebuilt; live as of position {told.position}")
            return 0
        found = await differences(log, PROJECTIONS)
        for one in found:
            print(one.table, ", ".join(f"{name}={value}" for name, value in one.key.items()), one.what)
        return 1 if found else 0
    except Refusal as refusal:
        print(f"stagedoor: {refusal.message} ({refusal.code})", file=sys.stderr)
        return 1
    finally:
        await log.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the tables of the resource service again from the log.")
    parser.add_argument("--check", action="store_true", help="change nothing; tell which rows differ")
    sys.exit(asyncio.run(main(check=parser.parse_args().check)))
