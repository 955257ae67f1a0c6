"""A log with old events of both retention classes in small partitions, and a ledger that archives them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from services.ledger.archiving import Archiving
from services.registry import events as registry
from services.token_issuer import events as token_issuer
from shared.ids import new_id
from tests.integration.ledger.serving import SIGNER, Serving, serving
from tests.support.auditing import HASHED_ANEW
from tests.support.facts import Facts
from tests.support.parties import Parties
from tests.support.postgres import Database
from tests.support.work import Work

PARTITIONS = (0, 20, 40, 2**24, 2**25)
"""Where partitions of expiring events begin: two are full after forty events."""
FULL = [(1, 19), (20, 39)]
OLD = timedelta(days=500)
RETENTION = timedelta(days=400)


@dataclass
class Archived:
    """The ledger, and what archives its events."""

    ledger: Serving
    folder: Path
    expiring: list[int] = field(default_factory=list)
    """Positions of the events that expire."""

    @property
    def facts(self) -> Facts:
        """Everything that was written."""
        return self.ledger.facts

    async def archiving(self, retention: timedelta = RETENTION) -> Archiving:
        """One leader's."""
        log = await self.facts.log("ledger")
        return Archiving(log, self.ledger.evidence, SIGNER, self.folder, retention, every_seconds=0.1)

    async def take(self) -> None:
        """As the leader does on its timer."""
        await (await self.archiving()).take()

    async def write(self, number: int) -> None:
        """As many events, of which two of three expire, in the order in which they are always."""
        for count in range(number):
            if count % 3 == 0:
                fact = registry.SecretRevoked(client_id="app", secret_id=f"app-{count}")
                await self.facts.write("application-app", fact)
            else:
                self.expiring.append((await self.facts.write(f"token-{(jti := new_id())}", issued(jti))).position)

    async def positions(self) -> list[int]:
        """What is in the log now."""
        async with self.facts.database.connection() as superuser:
            return [
                row["position"] for row in await superuser.fetch("SELECT position FROM log.events ORDER BY position")
            ]

    async def age_hashes(self) -> None:
        """After something was changed as if it had always been so."""
        await self.facts.execute(HASHED_ANEW)

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Checkpoints are made meanwhile."""
        async with Work() as work:
            work.start(self.ledger.evidence.keep())
            yield

    def files(self) -> list[Path]:
        """The archives."""
        return sorted(self.folder.rglob("*.jsonl.gz"), key=lambda path: int(path.name.partition("-")[0]))


def issued(jti: str) -> token_issuer.AccessTokenIssued:
    """An event that expires."""
    return token_issuer.AccessTokenIssued(
        jti=jti, client_id="app", sub="app", scopes=("read",), audiences=("api",), access_token_seconds=60
    )


async def make_partitions(facts: Facts, bounds: Sequence[int] = PARTITIONS) -> None:
    """Small ones, in a log in which nothing is written yet."""
    facts.database.spoiled = True
    async with facts.database.connection() as superuser:
        await superuser.execute("SET ROLE log_owner; DROP TABLE log.events_expiring_0, log.events_expiring_16777216")
        for low, high in pairwise(bounds):
            await superuser.execute("SELECT log.make_event_partition('expiring', $1, $2)", low, high)


async def age(facts: Facts, by: timedelta = OLD) -> None:
    """As if everything had been written so long ago; before anything of it is signed."""
    for table in ("events", "denials"):
        await facts.execute(f"UPDATE log.{table} SET recorded_at = recorded_at - interval '{by.days} days'")  # noqa: S608
    await facts.execute(HASHED_ANEW)


@asynccontextmanager
async def archived(
    database: Database, parties: Parties, folder: Path, *, events: int = 50, keep: bool = True
) -> AsyncIterator[Archived]:
    """Fifty old events, of which a checkpoint speaks; checkpoints go on being made."""
    facts = Facts(database)
    await make_partitions(facts)
    async with Work() as work, serving(facts, work, parties, folder / "ledger") as ledger:
        found = Archived(ledger, folder / "archive")
        await found.write(events)
        await age(facts)
        await ledger.evidence.catch_up()
        if keep:
            work.start(ledger.evidence.keep())
        yield found
