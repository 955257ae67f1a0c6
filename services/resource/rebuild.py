"""Makes this service's tables again from the log while it runs, or holds them against it.

    python -m services.resource.rebuild [--check]     with the settings of the service

No management call does it: an administrator's token is not to be shown to this service. Exit status 1: rows differ, or
it did not work.
"""

import asyncio
import sys

from services.resource import events
from services.resource.projections import PROJECTIONS
from shared.errors import Refusal
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.rebuild.command import carry_out, only_checking, refused
from shared.settings import ServiceSettings, load, read_secret
from shared.telemetry import configure_logging


async def main(*, check: bool) -> int:
    """Do it; answers the exit status."""
    settings = load(ServiceSettings)
    configure_logging("resource", settings.log_level)
    password = read_secret(settings.database_password_file, "the database password")
    log = await Log.open(settings.database, password, Catalogue.of(events))
    try:
        return await carry_out(log, PROJECTIONS, check=check)
    except Refusal as refusal:
        return refused(refusal.message, refusal.code)
    finally:
        await log.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(check=only_checking("Make the tables of the resource service again from the log."))))
