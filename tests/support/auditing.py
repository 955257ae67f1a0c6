"""An auditor of a served ledger, with a profile of their own; and an attacker who has its database."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from services.cli.connection import Connection
from services.cli.evidence import found_wrong, last_checkpoint, verified
from services.cli.profile import Profile, write
from services.registry import events as registry
from shared.evidence.stagedoor_verify import Wrong
from shared.evidence.verification import Verification
from tests.support.facts import Facts
from tests.support.parties import Parties

FAR_AWAY = 4_000_000_000


class Auditor:
    """Verifies as the command does."""

    def __init__(self, folder: Path, address: str, parties: Parties) -> None:
        shown = parties.authority.operator()
        self.path = folder / "auditor.toml"
        self.profile = Profile(
            issuer="https://id.example/id",
            origin="https://id.example",
            ca_file=parties.authority.certificate,
            certificate_file=shown.certificate,
            key_file=shown.key,
            grpc={"ledger": address},
            access_token="auditor",
            expires_at=FAR_AWAY,
        )
        write(self.path, self.profile)

    async def verify(
        self, *earlier: Path, key: str | None = None, archives: Sequence[Path] = ()
    ) -> tuple[Verification, Wrong | None]:
        """A verification, and what it finds; None: nothing."""
        with mock.patch.dict(os.environ, {"STAGEDOOR_PROFILE": str(self.path)}):
            async with Connection(self.path) as services:
                last, verification = await verified(services, key, earlier)
                return verification, await found_wrong(services, last, verification, archives)

    async def first_wrong(self, *earlier: Path, key: str | None = None, archives: Sequence[Path] = ()) -> Wrong | None:
        """What it finds."""
        try:
            return (await self.verify(*earlier, key=key, archives=archives))[1]
        except Wrong as wrong:
            return wrong

    async def keep(self, path: Path) -> Path:
        """Put the last checkpoint where nobody else can reach it."""
        with mock.patch.dict(os.environ, {"STAGEDOOR_PROFILE": str(self.path)}):
            async with Connection(self.path) as services:
                note = (await last_checkpoint(services, None)).note
        await asyncio.to_thread(path.write_text, note)
        return path


async def write_facts(facts: Facts, number: int, name: str = "app") -> None:
    """As many facts of one application."""
    for count in range(number):
        await facts.write(f"application-{name}", registry.SecretRevoked(client_id=name, secret_id=f"{name}-{count}"))


HASHED_ANEW = """
    UPDATE log.events SET data_digest = sha256(salt || convert_to(data, 'UTF8'));
    UPDATE log.events e SET leaf_hash = sha256('\\x00'::bytea || convert_to(concat_ws(E'\\n',
        'stagedoor-event-v1', e.epoch, e.position, e.stream, e.version, e.type, encode(e.data_digest, 'hex'), e.actor,
        e.command_id, e.correlation_id, coalesce(e.causation_id::text, ''),
        to_char(e.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), 'UTF8'))"""
"""What an attacker does who knows how events are hashed."""


async def attack(facts: Facts, statements: Sequence[str]) -> None:
    """Somebody with every right in the database."""
    for statement in statements:
        await facts.execute(statement)
