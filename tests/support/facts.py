"""Writes facts as the services that own them, for tests of what becomes of facts."""

import secrets

import asyncpg
import pytest

from infra.local.postgres import SUPERUSER
from infra.migrate import EVENTS
from shared.ids import new_command_id, new_id
from shared.log.append import Append, Appended, Context
from shared.log.event import Catalogue, Event
from shared.log.log import Log
from tests.support.postgres import Database

EVERYTHING = Catalogue.of(*EVENTS.values())
"""All facts of all services."""
PERSONAL_KEY = b"p" * 32
"""Of everybody."""


class Facts:
    """The logs of one database, by service, and how far each stream has come."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._logs: dict[str, Log] = {}
        self._versions: dict[str, int] = {}

    async def log(self, login: str) -> Log:
        """The log as this service sees it; one for each service."""
        if login not in self._logs:
            self._logs[login] = await self.database.log(login, EVERYTHING)
        return self._logs[login]

    async def write(self, stream: str, *events: Event) -> Appended:
        """Append events to a stream, as the service that owns them."""
        log = await self.log(events[0].source)
        appended = await log.append(
            Append(
                stream=stream,
                expected_version=self._versions.get(stream, 0),
                events=events,
                context=Context(f"service:{events[0].source}", new_id(), new_command_id()),
                personal_key=PERSONAL_KEY,
            )
        )
        self._versions[stream] = appended.version
        return appended

    async def branch(self) -> "Facts":
        """The same facts in a database of its own, as if a back-up of this moment had been restored."""
        for log in self._logs.values():
            await log.close()
        self._logs.clear()
        name = f"branch_{secrets.token_hex(4)}"
        server = self.database.server
        connection = await asyncpg.connect(server.dsn(SUPERUSER, "postgres"), password=server.password)
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {self.database.name}")
        finally:
            await connection.close()
        branch = Facts(Database(server, name))
        branch._versions.update(self._versions)
        return branch

    async def execute(self, statement: str) -> None:
        """Do something as the superuser."""
        async with self.database.connection() as connection:
            await connection.execute(statement)


@pytest.fixture
def facts(database: Database) -> Facts:
    """The log, and a way to write into it."""
    return Facts(database)
