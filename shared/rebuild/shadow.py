"""A second set of a projection's tables, fed from the log beside the live one."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Literal

import asyncpg

from shared.errors import Kind, Refusal
from shared.ids import new_id
from shared.log.append import LogUnavailable
from shared.log.codec import UnreadableEvent
from shared.log.event import Recorded, RowChange, Stamp
from shared.log.log import Log
from shared.projector import PlannedChange, Tables, batches, plan
from shared.questions import OUT_OF_REACH
from shared.rebuild.projection import Projection

ShadowKind = Literal["next", "check"]
"""What it is for: to become the live one, or to be compared with it."""

_BATCH = 1000
"""Events of one step, at the most."""
_STEPS_AT_THE_GATE = 2
_CLEAN_UP_SECONDS = 2.0

_OUT_OF_REACH = (*OUT_OF_REACH, asyncpg.QueryCanceledError, asyncpg.InvalidTransactionStateError)
"""The last one: the server has ended a transaction that lasted too long."""
NOT_NOW = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
"""Somebody holds a lock for longer than is waited."""


class RebuildOvertaken(Refusal):
    """Another run for the same tables has begun since, or the tables have another shape by now."""

    def __init__(self) -> None:
        super().__init__(Kind.CONFLICT, "rebuild_overtaken", "another run has taken the place of this one; begin again")


class TablesNeeded(Refusal):
    """Something else in the database, like a view, is built on the tables, so they cannot be replaced."""

    def __init__(self) -> None:
        super().__init__(
            Kind.PRECONDITION,
            "tables_needed",
            "something in the database is built on the tables (a view?): drop it first",
        )


class EventNotProjected(Refusal):
    """An event cannot be turned into rows by this version, and none is ever skipped."""

    def __init__(self, position: int, failure: Exception) -> None:
        why = type(failure).__name__  # its text may quote the event
        super().__init__(
            Kind.PRECONDITION, "event_not_projected", f"the event at position {position} cannot be projected ({why})"
        )


class Shadow:
    """The shadow tables of one run."""

    def __init__(self, log: Log, projection: Projection, kind: ShadowKind, run: str, tables: Tables) -> None:
        self._log = log
        self._projection = projection
        self._kind = kind
        self._run = run
        self._tables = tables
        self._checkpoint = -1

    @classmethod
    @asynccontextmanager
    async def of(cls, log: Log, projection: Projection, kind: ShadowKind) -> "AsyncIterator[Shadow]":
        """Empty ones, which take the place of any of the same kind; what is left of them at the end is dropped."""
        run = new_id()
        with refusing():
            await log.pool.execute("SELECT log.begin_shadow($1, $2, $3)", projection.name, kind, run)
            schema = await log.pool.fetchval("SELECT session_user::text")
            tables = Tables.of(schema, await log.pool.fetch(Tables.QUERY))
        shadow = cls(log, projection, kind, run, tables)
        try:
            yield shadow
        finally:
            # Whoever cannot clean up (because it is killed, at the latest) leaves it to the next run.
            with suppress(*_OUT_OF_REACH, asyncpg.PostgresError):
                async with asyncio.timeout(_CLEAN_UP_SECONDS):
                    await log.pool.execute("SELECT log.drop_shadow($1, $2, $3)", projection.name, kind, run)

    @property
    def run(self) -> str:
        """The id of the run."""
        return self._run

    @property
    def position(self) -> int:
        """Of the last event that is in it; 0 if none is."""
        return max(0, self._checkpoint)

    def table(self, live: str) -> str:
        """The name of the shadow of a table."""
        return f"{live}__{self._kind}"

    async def step(self) -> bool:
        """Take in the next events; False if there are none.

        Raises `EventNotProjected`, `RebuildOvertaken` or `LogUnavailable`.
        """
        try:
            facts = await self._log.read(self._checkpoint, sources=self._projection.sources, limit=_BATCH)
        except UnreadableEvent as unreadable:
            raise EventNotProjected(unreadable.position, unreadable) from None
        if not facts:
            return False
        with refusing():
            applied = await self._log.pool.fetchval(
                "SELECT log.apply($1, $2, $3, $4, $5)",
                f"{self._projection.name}__{self._kind}",
                self._run,
                self._checkpoint,
                _position(facts[-1]),
                batches([self._planned(facts)]),
            )
        if not applied:
            raise RebuildOvertaken
        self._checkpoint = _position(facts[-1])
        return True

    async def complete(self) -> None:
        """Take in all that is there."""
        while await self.step():
            pass

    async def rest(self) -> bool:
        """Take in the little that is still missing, with the gate held; False if it is more than that."""
        for _ in range(_STEPS_AT_THE_GATE):
            if not await self.step():
                return True
        return False

    async def analyze(self) -> None:
        """Let the planner know what is in it."""
        with refusing():
            await self._log.pool.execute("SELECT log.analyze_shadow($1, $2)", self._projection.name, self._kind)

    def _planned(self, facts: Sequence[Recorded]) -> list[PlannedChange]:
        planned: list[PlannedChange] = []
        for fact in facts:
            try:
                planned.extend(plan(change, self._tables) for change in self._moved(self._projection.project(fact)))
            except Exception as failure:
                raise EventNotProjected(_position(fact), failure) from failure
        return planned

    def _moved(self, changes: Iterable[RowChange]) -> Iterable[RowChange]:
        for change in changes:
            table = change.table.rpartition(".")[2]
            if table not in self._projection.tables:
                raise LookupError(f"the projection {self._projection.name} does not name the table {table}")
            yield replace(change, table=self.table(table))


@asynccontextmanager
async def held_gate(log: Log) -> AsyncIterator[asyncpg.Connection]:
    """A transaction during which nothing is appended; the server ends it after a second, whatever becomes of us."""
    async with log.connection() as connection, connection.transaction():
        await connection.execute("SELECT log.hold_gate()")
        yield connection


@contextmanager
def refusing() -> Iterator[None]:
    """Turns what the database says into what a caller is told."""
    try:
        yield
    except (*_OUT_OF_REACH, *NOT_NOW) as failure:
        raise LogUnavailable from failure
    except (asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.UndefinedTableError) as failure:
        raise RebuildOvertaken from failure
    except asyncpg.DependentObjectsStillExistError as failure:
        raise TablesNeeded from failure


def _position(fact: Recorded) -> int:
    if isinstance(fact.position, Stamp):
        raise TypeError("an event in the log has a position")
    return fact.position
