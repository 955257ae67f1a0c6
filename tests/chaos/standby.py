"""A second PostgreSQL that every commit waits for."""

from pathlib import Path

import asyncpg

from infra.local.failure import SystemFailure
from infra.local.postgres import SUPERUSER, Postgres, give, program
from infra.local.process import until

_NAME = "standby"
_FOLLOWING_SECONDS = 60.0


class Standby(Postgres):
    """A copy of another server, which follows it. It may be started again after it ended."""

    name = _NAME

    def __init__(self, primary: Postgres, folder: Path) -> None:
        super().__init__(folder, fsync=False, settings=("wal_retrieve_retry_interval=500ms",))
        self._primary = primary

    def _create_cluster(self) -> None:
        """A base back-up of the other server, made to follow it; what it has not been sent yet is kept there."""
        passwords = self.folder / "passwords"
        passwords.touch(mode=0o600)
        passwords.write_text(f"*:*:*:{SUPERUSER}:{self._primary.password}\n")
        making = self.folder / ".making"
        making.mkdir(mode=0o700)
        for place in (passwords, making):
            give(place)
        server = f"host={self._primary.socket_folder} user={SUPERUSER} passfile={passwords} application_name={_NAME}"
        self._run(
            program("pg_basebackup"),
            *("--pgdata", str(making / "data"), "--dbname", server, "--create-slot", "--slot", _NAME),
            *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        )
        (making / "data").rename(self.data)
        making.rmdir()

    async def be_waited_for(self) -> None:
        """From now on no commit is acknowledged before it is here as well."""
        await self._tell_primary(f"ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ({_NAME})'")

        async def follows() -> bool:
            return bool(await self._tell_primary("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'quorum'"))

        if not await until(follows, _FOLLOWING_SECONDS, every=0.1):
            raise SystemFailure("the standby does not follow")

    async def be_left_out(self) -> None:
        """Nothing waits for it any more."""
        await self._tell_primary("ALTER SYSTEM RESET synchronous_standby_names")
        await self.stop()

        async def forgotten() -> bool:
            await self._tell_primary(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active"
            )
            return not await self._tell_primary("SELECT 1 FROM pg_replication_slots")

        if not await until(forgotten, _FOLLOWING_SECONDS, every=0.1):
            raise SystemFailure("the primary still keeps what the standby has not been sent")

    async def waiting(self) -> int:
        """How many commits wait for it at this moment."""
        (row,) = await self._tell_primary("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        return int(row["count"])

    async def _tell_primary(self, statement: str) -> list[asyncpg.Record]:
        dsn = self._primary.dsn(database="postgres")
        connection = await asyncpg.connect(dsn, password=self._primary.password, timeout=10)
        try:
            rows = list(await connection.fetch(statement, timeout=30))
            await connection.fetch("SELECT pg_reload_conf()", timeout=10)
        finally:
            await connection.close(timeout=5)
        return rows
