"""What PostgreSQL says of itself while it is loaded: its statements, and who waits for what."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from infra.local.postgres import SUPERUSER, Postgres

_PREFIX = "bench|%u|%a|%p|"
_LINE = re.compile(r"^bench\|(?P<user>[^|]*)\|(?P<application>[^|]*)\|(?P<pid>\d+)\|(?P<kind>\w+): +(?P<text>.*)")
_STATEMENT = re.compile(r"^(?:statement|execute [^:]*): (.*)")
_WAITED = re.compile(r"^process \d+ (acquired|still waiting for) (\w+) on (.*?)(?: of database \d+)? after ([\d.]+) ms")
_SETTLE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Line:
    """One line, with whose session it is of."""

    user: str
    application: str
    text: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody waited for a lock."""

    user: str
    application: str
    acquired: bool
    mode: str
    what: str
    milliseconds: float


class ServerLog:
    """The log of one server, from one moment on. Parameters never appear in it."""

    def __init__(self, postgres: Postgres, database: str) -> None:
        self._postgres = postgres
        self._database = database
        self._from = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the superuser."""
        connection = await asyncpg.connect(
            self._postgres.dsn(SUPERUSER, self._database), password=self._postgres.password
        )
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def telling(self, **settings: str) -> AsyncIterator[None]:
        """Have the server say more, for a while."""
        wanted = {"log_line_prefix": _PREFIX, "log_parameter_max_length": "0", **settings}
        async with self.connection() as connection:
            await self._set(connection, {name: f"'{value}'" for name, value in wanted.items()})
            try:
                yield
            finally:
                await self._set(connection, dict.fromkeys(wanted, "DEFAULT"))

    async def _set(self, connection: asyncpg.Connection, settings: Mapping[str, str]) -> None:
        for name, value in settings.items():
            await connection.execute(f"ALTER SYSTEM SET {name} = {value}")
        await connection.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(_SETTLE_SECONDS)

    def mark(self) -> None:
        """Forget what was said before."""
        self._from = self._postgres.log.stat().st_size

    async def lines(self) -> list[Line]:
        """What was said since the mark, of the services' sessions."""
        await asyncio.sleep(_SETTLE_SECONDS)
        with self._postgres.log.open("rb") as file:
            file.seek(self._from)
            text = file.read().decode(errors="replace")
        # A statement of several lines goes on in lines that begin with a tab.
        found = (_LINE.match(line) for line in text.replace("\n\t", " ").splitlines())
        return [
            Line(match["user"], match["application"], match["text"])
            for match in found
            if match is not None and match["user"] != SUPERUSER
        ]

    async def statements(self) -> Counter[tuple[str, str]]:
        """How often each login has sent each statement since the mark. Each is one round trip."""
        found: Counter[tuple[str, str]] = Counter()
        for line in await self.lines():
            match = _STATEMENT.match(line.text)
            if match is not None:
                found[line.user, " ".join(match[1].split())] += 1
        return found

    async def waits(self) -> list[Wait]:
        """Who has waited for a lock since the mark, for longer than `deadlock_timeout`."""
        found = []
        for line in await self.lines():
            match = _WAITED.match(line.text)
            if match is not None:
                acquired = match[1] == "acquired"
                found.append(Wait(line.user, line.application, acquired, match[2], match[3], float(match[4])))
        return found
