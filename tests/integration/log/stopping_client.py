"""Appends one event, and stops or ends itself at the moment when the statement has been sent.

python -m tests.integration.log.stopping_client <dsn> <ticket> <signal number>
"""

import asyncio
import os
import sys

import asyncpg

from tests.support.postgres import password
from tests.support.theatre import sale, send


async def main() -> None:
    """Append; afterwards say where."""
    dsn, ticket, number = sys.argv[1:]
    connection = await asyncpg.connect(dsn, password=password("office"))
    transport = connection._transport
    write = transport.write

    def write_and_stop(data: bytes) -> None:
        write(data)
        if ticket.encode() in bytes(data):
            os.kill(os.getpid(), int(number))

    transport.write = write_and_stop
    (outcome,) = await send(connection, sale(ticket, None))
    print(outcome.position)


asyncio.run(main())
