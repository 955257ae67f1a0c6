import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest

from infra.local.failure import SystemFailure
from infra.local.postgres import SUPERUSER, Postgres
from infra.local.process import until
from tests.support.work import eventually

ROOT = Path(__file__).resolve().parents[2]


async def ask(server: Postgres, statement: str = "SELECT 1", password: str | None = None) -> object:
    connection = await asyncpg.connect(server.dsn(SUPERUSER, "postgres"), password=password or server.password)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_it_starts_again_with_its_data_after_any_end(folder_for_servers: Path) -> None:
    server = Postgres(folder_for_servers / "postgres")
    await server.start()
    try:
        await ask(server, "CREATE TABLE kept AS SELECT 7 AS number")
        await server.stop()
        assert not server.running
        await server.start()
        await server.kill()
        (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")  # a number that lives again
        again = Postgres(folder_for_servers / "postgres")
        await again.start()
        try:
            assert await ask(again, "SELECT number FROM kept") == 7
            with pytest.raises(SystemFailure, match="another PostgreSQL"):
                await _impatient(Postgres(folder_for_servers / "postgres"))
        finally:
            await again.stop()
    finally:
        await server.stop()


async def _impatient(server: Postgres) -> None:
    server.patience_seconds = 0.1
    await server.start()


async def test_only_passwords_open_it_and_only_on_its_socket(folder_for_servers: Path) -> None:
    server = Postgres(folder_for_servers / "postgres", fsync=False)
    await server.start()
    try:
        assert await ask(server, "SHOW listen_addresses") == ""
        assert await ask(server, "SHOW synchronous_commit") == "on"
        assert str(await ask(server, "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'")).startswith(
            "SCRAM"
        )
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(server, password="guessed")
        assert server.socket_folder.stat().st_mode & 0o077 == 0
        assert server.data.stat().st_mode & 0o077 == 0
        assert (server.folder / "password").stat().st_mode & 0o177 == 0
    finally:
        await server.stop()


async def test_a_folder_too_deep_for_a_socket_gets_a_short_one(folder_for_servers: Path) -> None:
    server = Postgres(folder_for_servers / ("deep" * 20) / "a folder, with a blank" / "postgres", fsync=False)
    await server.start()
    socket = server.socket_folder
    try:
        assert await ask(server) == 1
        assert len(str(socket)) < 90
    finally:
        await server.stop()
    assert not socket.exists()


async def test_it_ends_with_the_process_that_started_it(folder_for_servers: Path) -> None:
    script = (
        "import asyncio, os, sys; from pathlib import Path; from infra.local.postgres import Postgres\n"
        "server = Postgres(Path(sys.argv[1]), fsync=False); asyncio.run(server.start())\n"
        "print(server.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    starter = subprocess.run(  # noqa: ASYNC221  (short, and nothing else goes on)
        [sys.executable, "-c", script, str(folder_for_servers / "postgres")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    pid = int(starter.stdout)

    async def gone() -> bool:
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE

    assert await until(gone, 20)
    server = Postgres(folder_for_servers / "postgres", fsync=False)
    await server.start()
    try:
        assert await ask(server) == 1
    finally:
        await server.stop()


async def test_it_is_paused_with_all_its_processes(folder_for_servers: Path) -> None:
    server = Postgres(folder_for_servers / "postgres", fsync=False)
    await server.start()
    connection = await asyncpg.connect(server.dsn(SUPERUSER, "postgres"), password=server.password)

    def stopped() -> bool:
        return {child.status() for child in psutil.Process(server.pid).children()} == {psutil.STATUS_STOPPED}

    try:
        server.pause()
        await eventually(stopped)
        server.resume()
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        server.resume()
        await connection.close()
        await server.stop()


async def test_another_version_is_refused_in_a_line(folder_for_servers: Path) -> None:
    server = Postgres(folder_for_servers / "postgres")
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(SystemFailure, match="was made by PostgreSQL 12"):
        await server.start()
