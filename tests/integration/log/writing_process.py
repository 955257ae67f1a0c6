"""Appends at random moments until it is killed or done, and says on its output what was acknowledged.

python -m tests.integration.log.writing_process <dsn> <name> <seed> <appends>
"""

import asyncio
import random
import sys

from shared.log.append import LogUnavailable
from shared.log.event import Put, Stamp
from shared.log.log import Log
from tests.support.postgres import password
from tests.support.theatre import OFFICE, sale


async def main(dsn: str, name: str, seed: str, appends: str) -> None:
    """Append; each acknowledged ticket is one line with its position, written before the next one is begun."""
    dice = random.Random(seed)
    log = await Log.open(dsn, password("office"), OFFICE, pool_size=1)
    for turn in range(int(appends)):
        ticket = f"{name}-{turn}"
        row = Put("tickets", {"id": ticket, "position": Stamp.POSITION})
        append = sale(ticket, dice.choice([0, None]), rows=(row,))
        try:
            done = await log.append(append)
        except LogUnavailable:
            continue
        print(ticket, done.position, flush=True)
        await asyncio.sleep(dice.uniform(0.0, 0.01))
    await log.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
