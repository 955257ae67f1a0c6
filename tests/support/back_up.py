"""A back-up of a database server, and its return: what was written in between is lost."""

import shutil
from pathlib import Path

import asyncpg

from infra.local.postgres import SUPERUSER, Postgres
from infra.local.process import until

_WRITABLE_SECONDS = 30.0

RESTORABLE = ("restore_command=/bin/false",)
"""Settings of a server that is to be restored: there is no archive to read on in."""


async def take_back_up(server: Postgres, folder: Path) -> None:
    """Copy all that the server has."""
    await server.stop()
    shutil.copytree(server.data, folder)
    await server.start()


async def restore(server: Postgres, folder: Path) -> None:
    """Put the copy in the server's place; it goes on under a timeline of its own."""
    await server.stop()
    _put_in_place(server.data, folder)
    await server.start()
    await _writable(server)


async def _writable(server: Postgres) -> None:
    """A server that takes connections may still be on its way to the end of what it has, and refuse to write."""
    connection = await asyncpg.connect(server.dsn(SUPERUSER, "postgres"), password=server.password)
    try:

        async def recovered() -> bool:
            return not await connection.fetchval("SELECT pg_is_in_recovery()")

        assert await until(recovered, _WRITABLE_SECONDS)
    finally:
        await connection.close()


def _put_in_place(data: Path, folder: Path) -> None:
    owner = data.stat()
    shutil.rmtree(data)
    folder.rename(data)
    (data / "recovery.signal").touch()
    for path in (data, *data.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
