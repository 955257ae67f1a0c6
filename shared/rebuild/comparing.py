"""Holds a service's tables against what its projections make of the log, both at one position."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg

from shared.errors import Unavailable
from shared.log.append import LogUnavailable
from shared.log.log import Log
from shared.messaging.view import View
from shared.projector import Tables
from shared.rebuild.projection import Projection
from shared.rebuild.rebuilding import Progress, feed
from shared.rebuild.shadow import NOT_NOW, Shadow, held_gate, refusing

_ATTEMPTS = 10
_MOST = 1000
"""Rows of one table that are told; there may be more."""
_COMPARE_MILLISECONDS = 600_000


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not what the log makes of it."""

    projection: str
    table: str
    key: Mapping[str, str]
    """Its primary key, which is made of ids."""
    what: str
    """`missing` (the log makes such a row), `unexpected` (it makes none), or the names of the columns that differ."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of a comparison."""

    projection: str
    position: int
    """Of the log, at which both were compared."""
    differences: tuple[Difference, ...]


async def differences(log: Log, projections: Sequence[Projection]) -> list[Difference]:
    """The rows of these tables that are not what the log makes of them; at most 1,000 of each table.

    `log` is opened as the service whose tables they are, with all that it needs to read its facts. Views of others'
    facts are brought up to the head first, as a follower would.
    """
    found: list[Difference] = []
    for projection in projections:
        async for told in compare(log, projection):
            if isinstance(told, Compared):
                found.extend(told.differences)
    return found


async def compare(log: Log, projection: Projection) -> AsyncIterator[Progress | Compared]:
    """Compare one projection; tells how far it is, and what came of it at last. Nothing but time is taken from others.

    Raises `EventNotProjected`, `RebuildOvertaken`, `ProjectionStopped` or `LogUnavailable`.
    """
    async with Shadow.of(log, projection, "check") as shadow:
        async for progress in feed(log, projection, shadow):
            yield progress
        await shadow.analyze()
        with refusing():
            async with AsyncExitStack() as stack:
                connection = await stack.enter_async_context(log.connection())
                position = await _at_one_moment(log, projection, shadow, connection, stack)
                tables = Tables.of(
                    await connection.fetchval("SELECT session_user::text"), await connection.fetch(Tables.QUERY)
                )
                found: list[Difference] = []
                for table in projection.tables:
                    found += await _different(connection, projection, tables, table, shadow.table(table))
        yield Compared(projection.name, position, tuple(found))


async def _at_one_moment(
    log: Log, projection: Projection, shadow: Shadow, connection: asyncpg.Connection, stack: AsyncExitStack
) -> int:
    """Begin a transaction that sees live and shadow tables as of the same position, and answer that.

    The gate is held for as long as it takes to bring both there, and to take a snapshot.
    """
    views = [View(log, projection.name, source, projection.project) for source in projection.sources]
    own = await connection.fetchval("SELECT session_user::text")
    for _attempt in range(_ATTEMPTS):
        await shadow.complete()
        try:
            with refusing():
                async with held_gate(log):
                    if not await shadow.rest():
                        continue
                    head = await log.head()
                    for view in views:
                        if view.source != own:
                            await view.advance(head.position)
                    await stack.enter_async_context(connection.transaction(isolation="repeatable_read"))
                    await connection.execute(f"SET LOCAL statement_timeout = {_COMPARE_MILLISECONDS}")
                    every = ", ".join([*projection.tables, *map(shadow.table, projection.tables)])
                    # No rebuild may swap the tables while they are being compared.
                    await connection.execute(f"LOCK TABLE {every} IN ACCESS SHARE MODE")
                    await connection.fetchval("SELECT position FROM log.head")
                    return head.position
        except LogUnavailable as failure:
            if not isinstance(failure.__cause__, NOT_NOW):
                raise
    raise Unavailable("log_busy", "the gate of the log was not free in time; try again")


async def _different(
    connection: asyncpg.Connection, projection: Projection, tables: Tables, live: str, shadow: str
) -> list[Difference]:
    table = tables[live]
    key = ", ".join(f'"{column}"' for column in table.key)
    first = f'"{table.key[0]}"'
    rest = [column for column in table.columns if column not in table.key]
    columns = ", ".join(f"""CASE WHEN l."{one}" IS DISTINCT FROM s."{one}" THEN '{one}' END""" for one in rest)
    gone = projection.let_go.get(live, "false")
    names = ", ".join(f'"{column}"::text' for column in table.key)
    statement = f"""
        SELECT * FROM (
            SELECT {names},
                   CASE WHEN l.{first} IS NULL THEN CASE WHEN {gone} THEN '' ELSE 'missing' END
                        WHEN s.{first} IS NULL THEN 'unexpected'
                        ELSE array_to_string(array_remove(ARRAY[{columns}]::text[], NULL), ' ') END AS "what is wrong"
              FROM "{live}" l FULL JOIN "{shadow}" s USING ({key})) d
         WHERE "what is wrong" <> '' ORDER BY {key} LIMIT {_MOST}"""  # noqa: S608  (names of tables and columns)
    return [
        Difference(projection.name, live, {column: row[column] for column in table.key}, row["what is wrong"])
        for row in await connection.fetch(statement, timeout=_COMPARE_MILLISECONDS / 1000)
    ]
