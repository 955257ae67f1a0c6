"""A relay in a process of its own, so that it can be killed.

python -m tests.support.relay_process <connection string of the ledger> <address of NATS>
"""

import asyncio
import os
import sys

from shared.log.event import Catalogue
from shared.log.log import Log
from shared.messaging import NatsAccess
from shared.relay import Relay
from shared.wake import Wake
from tests.support.postgres import password


async def main(dsn: str, url: str) -> None:
    """Relay until killed."""
    log = await Log.open(dsn, password("ledger"), Catalogue())
    wake = Wake(log)
    relay = Relay(log, wake, NatsAccess(url, "ledger", os.environ["NATS_PASSWORD"]))
    await asyncio.gather(wake.run(), relay.run())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
