"""The log, as a service sees it: load a stream, append to it, read on, and know how far it has come."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from urllib.parse import unquote, urlsplit

import asyncpg

from shared.denials import Denial, DenialKind, DenialRule
from shared.errors import Refusal
from shared.log import pages
from shared.log.append import Append, Appended, Head, LogUnavailable
from shared.log.codec import PersonalKeys, decode
from shared.log.connections import Connections
from shared.log.event import Catalogue, Recorded, RowChange
from shared.log.group import encode
from shared.log.group_commit import SETTINGS, GroupCommit
from shared.log.pages import Page, is_full
from shared.log.row import EVERYTHING, EventFilter, EventRow
from shared.projector import PlannedChange, Tables, batches, plan
from shared.tracing import spans

Connect = Callable[[], Awaitable[asyncpg.Connection]]

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 5.0
_POLL_SECONDS = 1.0
_TRIES = 3
_POOL_SETTINGS = {
    "statement_timeout": "10000",
    "idle_in_transaction_session_timeout": "10000",
    "search_path": '"$user"',
    "jit": "off",
}
"""Of the connections that read; times in milliseconds."""
_LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ReadOnlySQLTransactionError,  # a server in recovery answers, and takes neither writes nor listeners
)
"""How it shows that the database cannot be asked now."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One aggregate's facts."""

    name: str
    version: int
    """0: there are none."""
    events: tuple[Recorded, ...]
    head: Head
    """Of the log, at the same moment."""


@dataclass(frozen=True, slots=True)
class NumberedDenial:
    """A denial with what the log gave it."""

    number: int
    position: int
    epoch: int
    source: str
    denial: Denial
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class DenialSnapshot:
    """All denials that hold, at one moment."""

    head: Head
    denials: list[NumberedDenial]
    """By number."""
    epochs: tuple[tuple[int, int], ...] = ()
    """(epoch, its first position) up to that of the head, in order."""


class Log:
    """The log. All questions raise `LogUnavailable` if the database does not answer in time."""

    def __init__(
        self,
        pool: Connections,
        appender: GroupCommit,
        catalogue: Catalogue,
        personal_keys: PersonalKeys | None,
        connector: Callable[[str, Mapping[str, str]], Connect],
    ) -> None:
        self.pool = pool
        """For the service's own questions to its own tables."""
        self.catalogue = catalogue
        self.personal_keys = personal_keys
        """Where the keys of persons are, for a service that may read personal data. It may be set after opening."""
        self._appender = appender
        self._connect_to_listen = connector("listens", {})
        self._connect = connector("works", _POOL_SETTINGS)
        self._tables: Tables | None = None

    @classmethod
    async def open(
        cls,
        dsn: str,
        password: str,
        catalogue: Catalogue,
        *,
        personal_keys: PersonalKeys | None = None,
        pool_size: int = 8,
    ) -> "Log":
        """Open the log for one login. Connections are made when they are needed, and again when they are lost."""
        address = {"dsn": dsn, "password": password, "timeout": _CONNECT_SECONDS}
        user = _user(dsn)

        def connector(work: str, settings: Mapping[str, str]) -> Connect:
            settings = {**settings, "application_name": f"{user} {work}"}
            return lambda: asyncpg.connect(**address, command_timeout=_ANSWER_SECONDS, server_settings=settings)

        pool = Connections(connector("asks", _POOL_SETTINGS), pool_size)
        appender = GroupCommit(connector("appends", SETTINGS))
        appender.start()
        return cls(pool, appender, catalogue, personal_keys, connector)

    async def close(self) -> None:
        """Finish what is being appended, and let go of the database."""
        await self._appender.close()
        await self.pool.close()

    # Writing

    async def append(self, append: Append) -> Appended:
        """Append the events of one command, with its rows, all or nothing.

        Raises `VersionConflict`, `NameTaken`, `AlreadyUsed`, `Fenced`, `TooLarge`; `LogUnavailable` if it is not known
        to have been appended; `AppendFailed` if it can never be.
        """
        planned = await self._plan(append.rows) if append.rows else ()
        encoded = encode(append, planned)
        if not spans.active:
            return await self._appender.append(encoded)
        began = time.time_ns()
        try:
            appended = await self._appender.append(encoded)
        except Refusal as refusal:
            spans.appended(append, began, refused=refusal.code)
            raise
        spans.appended(append, began, position=appended.position)
        return appended

    async def apply(
        self, projection: str, source: str, expected: int, position: int, rows: Sequence[RowChange]
    ) -> bool:
        """Take a projection's view of `source` from the checkpoint `expected` to `position`, with these rows.

        False, and nothing has changed, if the checkpoint is elsewhere: somebody else has been faster.
        """
        planned = await self._plan(rows)
        # No retry: if the answer is lost the checkpoint tells.
        try:
            applied: bool = await self.pool.fetchval(
                "SELECT log.apply($1, $2, $3, $4, $5)", projection, source, expected, position, batches([planned])
            )
        except _LOST as failure:
            raise LogUnavailable from failure
        return applied

    # Reading

    async def load(self, stream: str) -> Stream:
        """The facts of one stream, and the head as it was at the same moment."""
        records = await self._ask("SELECT * FROM log.load($1)", stream)
        first = records[0]
        head = Head(first["head_epoch"], first["head_position"], first["head_denial_number"])
        events = await self._decode([record for record in records if record["position"] is not None])
        version = first["stream_version"]
        if version is None:
            version = events[-1].version if events else 0
        return Stream(stream, version, tuple(events), head)

    async def head(self) -> Head:
        """How far the log has come."""
        (record,) = await self._ask("SELECT epoch, position, denial_number FROM log.head")
        return Head(record["epoch"], record["position"], record["denial_number"])

    async def read(self, after: int, *, sources: Collection[str] | None = None, limit: int = 1000) -> list[Recorded]:
        """Events after a position, in order; of these sources, or of all that the service may read.

        It is a page (`shared.log.pages`): there may be more until there are none.
        """
        return list((await self.read_page(after, sources=sources, limit=limit)).events)

    async def read_page(
        self, after: int, *, sources: Collection[str] | None = None, limit: int = 1000
    ) -> Page[Recorded]:
        """The same, for who wants to know whether it was all."""
        wanted = None if sources is None else sorted(sources)
        records = await self._ask(
            "SELECT * FROM log.read_page($1, null, $2, $3, $4)", after, wanted, limit, pages.PAGE_BYTES
        )
        return Page(await self._decode(records), is_full(records, limit))

    async def read_rows(
        self, after: int, *, limit: int, until: int | None = None, matching: EventFilter = EVERYTHING
    ) -> list[EventRow]:
        """A page of rows after a position and up to another (None: the head), in order, as they stand in the log.

        A filter that few events match makes this a long search; `until` bounds it.
        """
        page = await self.read_records("*", after, limit, until, matching)
        return [EventRow.of(record) for record in page.events]

    async def read_records(
        self,
        columns: LiteralString,
        after: int,
        limit: int,
        until: int | None = None,
        matching: EventFilter = EVERYTHING,
    ) -> Page[Any]:
        """The same as records with these columns (SQL), for who hands out so many that rows of them take too long.

        `data` has to be one of them.
        """
        if matching == EVERYTHING:
            ask = f"SELECT {columns} FROM log.read_page($1, $2, null, $3, $4)"  # noqa: S608  (constants)
            records = await self._ask(ask, after, until, limit, pages.PAGE_BYTES)
            return Page(records, is_full(records, limit))
        f = matching
        lists = (f.types, f.sources, f.streams, f.client_ids, f.subs, f.sids, f.gids, f.jtis, f.actors)
        records = await self._ask(
            f"SELECT {columns} FROM"  # noqa: S608  (as above)
            " log.read_matching_page($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
            after,
            until,
            limit,
            pages.PAGE_BYTES,
            *(list(some) if some else None for some in (*lists, f.correlation_ids)),
            f.since,
            f.before,
        )
        return Page(records, is_full(records, limit))

    async def active_denials(self) -> DenialSnapshot:
        """All denials that hold now."""
        records = await self._ask("SELECT * FROM log.active_denials()")
        first = records[0]
        head = Head(first["head_epoch"], first["head_position"], first["head_denial_number"])
        # Epochs are only ever added, so those up to the head's are those of the same moment.
        epochs = await self._ask("SELECT epoch, first_position FROM log.known_epochs()")
        return DenialSnapshot(
            head,
            [_numbered(record) for record in records if record["number"] is not None],
            tuple((known["epoch"], known["first_position"]) for known in epochs if known["epoch"] <= head.epoch),
        )

    async def denials_after(self, number: int, limit: int) -> list[NumberedDenial]:
        """Denials, lifting ones too, with greater numbers than this; numbers are dense."""
        return [_numbered(r) for r in await self._ask("SELECT * FROM log.denials_after($1, $2)", number, limit)]

    async def schema_steps(self) -> dict[str, tuple[int, int]]:
        """The last step that was taken, and the oldest that has to be known, of the log and of the service's schema.

        Raises an `asyncpg.PostgresError` if the database was never migrated, or by a program that knew no steps.
        """
        records = await self._ask("SELECT schema, number, oldest FROM log.schema_steps()")
        return {record["schema"]: (record["number"], record["oldest"]) for record in records}

    async def checkpoints(self, projection: str) -> dict[str, int]:
        """How far a projection has come, by source; a source that is missing has not begun."""
        records = await self._ask("SELECT source, position FROM checkpoints WHERE projection = $1", projection)
        return {record["source"]: record["position"] for record in records}

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """Yields whenever the log has grown, at once at first, and each second in any case.

        The growth that a reader finds between two yields may be none, or that of many appends. While the database is
        out of reach it still yields each second: the reader finds out.

        What it yields is what was said of each growth since the last time, as `denials_up_to` writes it; nothing where
        that is not known. Any login of the database could say it, so it is a reason to look and never one to believe.
        """
        said: set[str] = set()
        grown = asyncio.Event()

        def hear(_: object, __: int, ___: str, payload: object) -> None:
            said.add(str(payload))
            grown.set()

        connection: asyncpg.Connection | None = None
        try:
            while True:
                if connection is None or connection.is_closed():
                    connection = await self._listen(hear)
                    said.clear()
                yield frozenset(said)
                said.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await grown.wait()
                grown.clear()
        finally:
            if connection is not None:
                connection.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of its own, for the little that needs more than one statement at a time."""
        try:
            connection = await self._connect()
        except _LOST as failure:
            raise LogUnavailable from failure
        try:
            yield connection
        finally:
            connection.terminate()

    # How

    async def _listen(self, hear: Callable[[Any, int, str, object], None]) -> asyncpg.Connection | None:
        connection: asyncpg.Connection | None = None
        try:
            connection = await self._connect_to_listen()
            await connection.add_listener("stagedoor", hear)
        except _LOST:
            if connection is not None:
                connection.terminate()
            return None
        return connection

    async def _ask(self, statement: str, *arguments: object) -> list[Any]:
        """Ask; again over another connection if one turns out to be dead."""
        for attempt in range(1, _TRIES + 1):
            try:
                answer: list[Any] = await self.pool.fetch(statement, *arguments)
            except (asyncpg.PostgresConnectionError, ConnectionError, asyncpg.AdminShutdownError) as failure:
                if attempt == _TRIES:
                    raise LogUnavailable from failure
            except _LOST as failure:
                raise LogUnavailable from failure
            else:
                return answer
        raise LogUnavailable

    async def _decode(self, records: Sequence[Any]) -> list[Recorded]:
        return await decode(records, self.catalogue, self.personal_keys)

    async def _plan(self, changes: Sequence[RowChange]) -> list[PlannedChange]:
        if not changes:
            return []
        if self._tables is None:
            self._tables = Tables.of(await self._own_schema(), await self._ask(Tables.QUERY))
        return [plan(change, self._tables) for change in changes]

    async def _own_schema(self) -> str:
        (record,) = await self._ask("SELECT session_user::text AS login")
        return str(record["login"])


def denials_up_to(epoch: int, number: int) -> str:
    """How the log says, whenever it has grown, which denial is the last."""
    return f"{epoch} {number}"


def _numbered(record: Any) -> NumberedDenial:
    return NumberedDenial(
        number=record["number"],
        position=record["position"],
        epoch=record["epoch"],
        source=record["source"],
        denial=Denial(
            kind=DenialKind(record["kind"]),
            id=record["id"],
            rule=DenialRule(record["rule"]),
            except_id=record["except_id"],
            until=record["until"],
        ),
        recorded_at=record["recorded_at"],
    )


def _user(dsn: str) -> str:
    """The login that a connection string names, for the server's list of connections."""
    return unquote(urlsplit(dsn).username or "stagedoor")
