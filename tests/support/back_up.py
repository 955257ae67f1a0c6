"""A back-up of a database server, and its return: with its archived WAL nothing is lost, else what came after is."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from infra.local.postgres import SUPERUSER, Postgres, program
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


@asynccontextmanager
async def archived(server: Postgres, folder: Path) -> AsyncIterator[Path]:
    """Back the running server up, as an operator would; answers a folder with the copy (`base`) and the WAL (`wal`).

    The WAL is received for as long as the server runs, so it has to be stopped before this ends: then all is there.
    """
    wal, base = folder / "wal", folder / "base"
    wal.mkdir(parents=True)
    where = ("--host", str(server.socket_folder), "--username", SUPERUSER)
    # With a slot the server keeps what was not received yet.
    slot = await _run(server, "pg_receivewal", *where, "--slot=archive", "--create-slot")
    assert await slot.wait() == 0
    receive = ("pg_receivewal", *where, "--slot=archive", "--directory", str(wal), "--synchronous", "--no-loop")
    receiving = await _run(server, *receive)
    try:
        copying = await _run(server, "pg_basebackup", *where, "--pgdata", str(base), "--checkpoint=fast")
        assert await copying.wait() == 0
        yield folder
        assert not server.running
        async with asyncio.timeout(_WRITABLE_SECONDS):
            await receiving.wait()
    finally:
        if receiving.returncode is None:
            receiving.kill()
            await receiving.wait()


async def _run(server: Postgres, name: str, *arguments: str) -> asyncio.subprocess.Process:
    environment = {"PGPASSWORD": server.password, "LC_ALL": "C"}
    return await asyncio.create_subprocess_exec(
        str(program(name)), *arguments, env=environment, stderr=asyncio.subprocess.DEVNULL
    )


def put_back(archive: Path, server: Postgres) -> None:
    """Make what was archived the cluster of a server that never ran, recovered to the end of the WAL when it starts."""
    shutil.copytree(archive / "base", server.data)
    wal = shutil.copytree(archive / "wal", server.folder / "wal")
    (server.data / "recovery.signal").touch()
    with (server.data / "postgresql.auto.conf").open("a") as settings:
        settings.write(f'restore_command = \'cp {wal}/%f "%p" || cp {wal}/%f.partial "%p"\'\n')
    server.give(server.data, wal)


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
