"""The care of the log in a process of its own, so that it can be stopped and killed.

python -m tests.support.care_process <connection string of the ledger> <seconds between two times>

Prints a line whenever it begins to lead.
"""

import asyncio
import sys

from services.ledger.care import Care
from shared.leadership import Leadership
from shared.log.event import Catalogue
from shared.log.log import Log
from shared.telemetry import configure_logging
from tests.support.postgres import password


async def main(dsn: str, every: str) -> None:
    """Look after the log whenever this process leads, until killed."""
    configure_logging("care", "warning")
    log = await Log.open(dsn, password("ledger"), Catalogue())
    care = Care(log, float(every), 3600)

    async def lead() -> None:
        print("leading", flush=True)
        await care.take()

    await Leadership(dsn, password("ledger"), "ledger").run(lead)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
