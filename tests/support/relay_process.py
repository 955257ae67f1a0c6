"""A relay in a process of its own, so that it can be killed; at a certain step, if it is told one.

python -m tests.support.relay_process <connection string of the ledger> <address of NATS> [<step> <signal>]
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
from tests.support.relay_steps import end_at


async def main(dsn: str, url: str, step: str = "", number: str = "0") -> None:
    """Relay until killed, or until the step at which it sends itself the signal."""
    if step:
        end_at(step, lambda: os.kill(os.getpid(), int(number)))
    log = await Log.open(dsn, password("ledger"), Catalogue())
    wake = Wake(log)
    relay = Relay(log, wake, NatsAccess(url, "ledger", os.environ["NATS_PASSWORD"]))
    await asyncio.gather(wake.run(), relay.run())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
