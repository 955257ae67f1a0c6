"""An upgrade under load: tables are changed first, then services are replaced one after the other, and nobody notices.

The new version's steps are stood in for by steps that only a test knows: what a program of before sees is the same. A
service that is started again meets them as one that was there before does, and they run side by side.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from infra import migrate
from infra.local import services
from infra.local.demo_data import BACKSTAGEHUB
from infra.local.ports import SERVICES
from infra.local.process import until
from infra.local.system import System
from shared.log import migrate as log_migrate
from shared.log.migrate import Tenant
from shared.log.steps import LOG_STEPS, Step, StepsRefused, read_steps
from tests.chaos.aftermath import look_at_it, whole_log
from tests.chaos.clients import Clients
from tests.chaos.journal import Journal
from tests.chaos.load import SCOPE, Load
from tests.chaos.verdict import judge
from tests.support.ports import free_ports
from tests.support.replicas import Replicas, doubled

SEED = 1975
SETTINGS = {"STAGEDOOR_REFRESH_GRACE_SECONDS": "60"}
"""The load tries a refresh again for as long as a restart may take."""
OLD, NEW = 0, 1
"""Which replica: one that was there before the tables were changed, and one that was started after."""
TOUR = {"title": "A Night at the Opera", "venue": "Hammersmith Odeon", "city": "London", "date": "1975-12-24"}
WIDER = {
    "log": """
        ALTER TABLE log.streams ADD COLUMN hint text;
        ALTER TABLE log.names ADD COLUMN hint text NOT NULL DEFAULT '';
        CREATE TABLE log.hints (hint text PRIMARY KEY)""",
    "registry": "ALTER TABLE registry.applications ADD COLUMN hint text NOT NULL DEFAULT ''",
    "identity": "ALTER TABLE identity.users ADD COLUMN hint text; CREATE INDEX users_by_hint ON identity.users (hint)",
    "token_issuer": "ALTER TABLE token_issuer.grants ADD COLUMN hint text NOT NULL DEFAULT '', ADD COLUMN hints text[]",
    "resource": "ALTER TABLE resource.tours ADD COLUMN hint text",
}
"""What the next version may do: it adds."""


def next_version(monkeypatch: pytest.MonkeyPatch) -> Sequence[Tenant]:
    """The tenants of a version that knows one more step of every schema."""

    def more(schema: str, steps: Sequence[Step]) -> tuple[Step, ...]:
        return (*steps, Step(len(steps) + 1, f"{len(steps) + 1:04}_wider", WIDER[schema])) if schema in WIDER else ()

    of_log = more("log", read_steps(LOG_STEPS))
    monkeypatch.setattr(log_migrate, "read_steps", lambda _: of_log)
    return [replace(tenant, steps=more(tenant.login, tenant.steps)) for tenant in migrate.tenants()]


@asynccontextmanager
async def superuser(system: System) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(system.postgres.dsn(), password=system.postgres.password)
    try:
        yield connection
    finally:
        await connection.close()


async def rounds(load: Load, number: int = 1) -> None:
    """Everybody has finished so many rounds more."""
    before = dict(load.rounds)

    async def done() -> bool:
        return len(load.rounds) > 0 and all(load.rounds[name] >= before.get(name, 0) + number for name in load.rounds)

    assert await until(done, 60), "somebody is not served"


@pytest.fixture
async def running(folder: Path) -> AsyncIterator[tuple[System, Clients, Load]]:
    async with System(folder, ports=free_ports(), durable=False, console=False, settings=SETTINGS) as system:
        clients = Clients(system, Journal())
        load = Load(clients, SEED)
        yield system, clients, load
        await clients.close()


@pytest.mark.timeout(300)
async def test_the_tables_change_and_the_services_are_replaced_under_load(
    running: tuple[System, Clients, Load], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, clients, load = running
    journal = clients.journal
    wider = next_version(monkeypatch)
    working = asyncio.create_task(load.run())
    try:
        await rounds(load)
        before = len(journal.operations)
        async with superuser(system) as connection:
            done = await log_migrate.migrate(connection, wider, {})
            assert {schema for schema, _ in done.pending} == set(WIDER)
            # Functions are replaced each time, while they are called.
            for _ in range(3):
                assert (await log_migrate.migrate(connection, wider, {})).pending == []
        # All of these services were there before the tables were changed. Nobody had to ask twice.
        await rounds(load)
        assert journal.wrong == []
        assert [one.what for one in journal.operations[before:] if len(one.courses) > 1] == []

        async with doubled(system) as ports:
            replicas = Replicas(system, ports)
            try:
                await play(replicas, OLD, NEW)
                await play(replicas, NEW, OLD)
            finally:
                await replicas.close()
            for service in SERVICES:
                await system.restart(service)
        await rounds(load)
        # The migration of the version of before finds nothing to do, and undoes nothing.
        monkeypatch.undo()
        async with superuser(system) as connection:
            assert set((await log_migrate.migrate(connection, migrate.tenants(), {})).ahead) == set(WIDER)
    finally:
        load.end()
        await working
    verdict = judge(journal, await whole_log(system))
    await look_at_it(system, clients, load, verdict, held=[], few=True)
    assert verdict.clean, (verdict.lost, verdict.doubled, verdict.wrong)

    # A program that the tables are not for, or not yet, ends with one line, and has done nothing.
    known = len(read_steps(LOG_STEPS))
    async with superuser(system) as connection:
        await connection.execute("UPDATE log.steps SET oldest = number WHERE schema = 'log' AND number = $1", known + 1)
        assert await last_words(system, "registry") == (
            f"stagedoor: this program is too old for the database: log is at step {known + 1}, which needs a program"
            f" that knows step {known + 1}, and this one knows {known}"
        )
        await connection.execute("DELETE FROM log.steps WHERE schema = 'token_issuer'")
        await connection.execute("UPDATE log.steps SET oldest = 1")
        (needed,) = (len(tenant.steps) for tenant in migrate.tenants() if tenant.login == "token_issuer")
        assert await last_words(system, "token_issuer") == (
            "stagedoor: the database is too old for this program: token_issuer is at step 0, and"
            f" step {needed} is needed; the migration has to be run first"
        )
        with pytest.raises(StepsRefused, match="went another way"):
            await log_migrate.migrate(connection, migrate.tenants(), {})


async def play(replicas: Replicas, one: int, other: int) -> None:
    """The story over a replica of before and one of after: what one begins the other goes on with."""
    flow = replicas.flow(BACKSTAGEHUB, SCOPE)
    async with replicas.visitor("freddie", "a-kind-of-magic-1986") as freddie:
        code = flow.code(await freddie.go(flow.address))
    given = (await replicas.redeem(flow, code, one)).json()
    form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    token = (await replicas.token(BACKSTAGEHUB, other, **form)).json()["access_token"]
    added = await replicas.api("POST", "/tours", one, token, TOUR)
    assert added.status_code == 201, added.text
    assert (await replicas.api("GET", f"/tours/{added.json()['id']}", other, token)).status_code == 200
    assert (await replicas.validate(other, token)).allowed
    assert (await replicas.revoke(BACKSTAGEHUB, other, token)).status_code == 200

    async def refused_by_both() -> bool:
        answers = [await replicas.api("GET", "/tours", replica, token) for replica in (one, other)]
        return {answer.status_code for answer in answers} == {401}

    assert await until(refused_by_both, 30)


async def last_words(system: System, service: str) -> str:
    """What a service says that does not start."""
    await system.stop_part(service)
    replica = services.process(system.home, system.ports, service, system.postgres.dsn(service), {})
    await replica.start()

    async def ended() -> bool:
        return not replica.running

    assert await until(ended, 60)
    assert replica.exit_status == 1
    lines = replica.last_words().strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]
