"""The appender of a process: one connection, one statement in flight, all that waits in the next one.

Nobody is waited for. A lone command goes out at once; while a statement is under way others gather, so the groups
grow with the load by themselves.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from shared.errors import Refusal
from shared.log import measures
from shared.log.append import AlreadyUsed, Appended, EpochOver, Fenced, LogUnavailable, NameTaken, VersionConflict
from shared.log.group import MOST_BYTES, MOST_EVENTS, STATEMENT, Encoded, Pending, arguments

PATIENCE_SECONDS = 5.0
"""After so long a caller is told that the log does not answer, whatever becomes of the command."""
_MOST_COMMANDS = 256
_ALL_AT_ONCE = 32
"""So few commands are not worth dividing."""
_MOST_WAITING = 20_000
_STATEMENT_SECONDS = 4.5
"""The server gives up before (see `SETTINGS`)."""
_FIRST_TRY_SECONDS = 1.0
"""How long the database is sought, from when it went out of reach, for what was never sent."""
_RETRY_SECONDS = 0.05
_LOOK_SECONDS = 0.25
_TERMINATE_MILLISECONDS = 2000

SETTINGS = {
    "application_name": "appender",
    "lock_timeout": "2000",
    "statement_timeout": "4000",
    "idle_in_transaction_session_timeout": "5000",
    "jit": "off",
}
"""Of the appender's connection, in milliseconds."""

_LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""After these it is not known what became of a statement."""
_NOT_NOW = (
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
)
"""After these nothing has happened, and it was nobody's fault."""


class AppendFailed(Exception):  # noqa: N818  (read as a sentence)
    """The log does not take this command, through a mistake of this program.

    A row breaks a constraint, for one, or the service may not append this event. What the database says of it in
    detail may quote the row, so it is not repeated.
    """

    def __init__(self, failure: Exception) -> None:
        said = [type(failure).__name__]
        if isinstance(failure, asyncpg.PostgresError):
            said += [f"{name} {value}" for name in _SAYABLE if (value := getattr(failure, f"{name}_name", None))]
            if isinstance(failure, asyncpg.InsufficientPrivilegeError):
                said.append(str(failure))
        super().__init__(", ".join(said))


_SAYABLE = ("schema", "table", "column", "constraint")


@dataclass(frozen=True, slots=True)
class _Backend:
    """The server process behind a connection."""

    pid: int
    started_at: datetime


class GroupCommit:
    """Appends commands in groups. All of it belongs to one event loop."""

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], *, patience: float = PATIENCE_SECONDS
    ) -> None:
        """`connect` opens a connection with `SETTINGS`, bounded in time."""
        self._connect = connect
        self._patience = patience
        self._queue: deque[Pending] = deque()
        self._flying: Sequence[Pending] = ()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._statement: Any = None
        self._backend: _Backend | None = None
        self._lost: _Backend | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._out_of_reach_since: float | None = None
        self._closing = False
        measures.waiting(lambda: len(self._queue) + len(self._flying))

    def start(self) -> None:
        """Begin to work."""
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._watch())]

    async def close(self) -> None:
        """Finish what waits, within the patience of its callers, and take nothing more."""
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._idle.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pending in (*self._flying, *self._queue):
            _fail(pending, LogUnavailable("the service is stopping"))
        self._queue.clear()
        self._drop()

    async def append(self, encoded: Encoded) -> Appended:
        """Append one command. Raises its refusal, `LogUnavailable` or `AppendFailed`.

        A caller that is cancelled does not hear what became of it; that it was not appended is not said.
        """
        if self._closing:
            raise LogUnavailable("the service is stopping")
        if len(self._queue) >= _MOST_WAITING:
            raise LogUnavailable("too much waits for the log")
        loop = asyncio.get_running_loop()
        pending = Pending(encoded, loop.create_future(), loop.time())
        self._queue.append(pending)
        self._idle.clear()
        self._arrived.set()
        return await pending.answer

    # One statement after the other

    async def _work(self) -> None:
        while True:
            self._idle.set()
            await self._arrived.wait()
            self._idle.clear()
            self._arrived.clear()
            while self._queue:
                group = self._take()
                if not group:
                    continue
                self._flying = group
                try:
                    await self._commit(group)
                except Exception as mistake:  # noqa: BLE001  (whatever it is, the next group is to be tried)
                    for pending in group:
                        _fail(pending, AppendFailed(mistake))
                self._flying = ()

    def _take(self) -> list[Pending]:
        """The next group, in the order of arrival: never two of one stream, since the second needs the first.

        Under load it is half of what waits, so that PostgreSQL has the other half to do while this process hears of
        the first and prepares what comes next.
        """
        most = min(_MOST_COMMANDS, max(_ALL_AT_ONCE, len(self._queue) // 2))
        group: list[Pending] = []
        streams: set[str] = set()
        later: list[Pending] = []
        size = events = 0
        while self._queue and len(group) < most and len(later) < _MOST_COMMANDS:
            pending = self._queue[0]
            encoded = pending.encoded
            if pending.answer.done():  # cancelled, or out of patience
                self._queue.popleft()
                continue
            if group and (size + encoded.size > MOST_BYTES or events + len(encoded.texts) > MOST_EVENTS):
                break
            self._queue.popleft()
            if encoded.append.stream in streams:
                later.append(pending)
                continue
            streams.add(encoded.append.stream)
            size += encoded.size
            events += len(encoded.texts)
            group.append(pending)
        self._queue.extendleft(reversed(later))
        return group

    async def _commit(self, group: Sequence[Pending], *, sent: bool = False) -> None:
        """Send a group until its outcome is known; `sent` if it was sent before and that is not known."""
        deadline = asyncio.get_running_loop().time() + self._patience
        while (statement := await self._reach(group, deadline, sent=sent)) is not None:
            try:
                async with asyncio.timeout(_STATEMENT_SECONDS):
                    answer = await statement.fetchrow(*arguments(group, resend=sent))
            except _NOT_NOW as failure:
                _fail_all(group, _unavailable(failure))
                return
            except Exception as failure:  # noqa: BLE001  (what is not the connection's is the fault of one of them)
                if not isinstance(failure, _LOST) or (
                    isinstance(failure, asyncpg.InterfaceError) and not self._is_lost()
                ):
                    await self._one_by_one(group, failure, sent=sent)
                    return
                sent = True
                self._lost = self._backend
                self._drop()
            else:
                _settle(group, answer)
                return

    async def _reach(self, group: Sequence[Pending], deadline: float, *, sent: bool) -> Any:
        """The statement, on a connection that is open; None if there is none in time, and the group has been told."""
        loop = asyncio.get_running_loop()
        while not sent or loop.time() < deadline:
            try:
                statement = await self._ready(sent=sent)
            except _LOST + _NOT_NOW:
                if self._out_of_reach_since is None:
                    self._out_of_reach_since = loop.time()
                if not sent and loop.time() - self._out_of_reach_since > _FIRST_TRY_SECONDS:
                    # Nobody is helped by waiting: those who came meanwhile are told as well.
                    _fail_all(self._queue, LogUnavailable())
                    self._queue.clear()
                    break
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._out_of_reach_since = None
                return statement
        _fail_all(group, LogUnavailable())
        return None

    async def _one_by_one(self, group: Sequence[Pending], failure: Exception, *, sent: bool) -> None:
        """The statement failed as a whole, through the fault of one command: the others have to succeed."""
        if len(group) == 1:
            _fail(group[0], AppendFailed(failure))
            return
        for pending in group:
            if not pending.answer.done():
                await self._commit([pending], sent=sent)

    # The connection

    async def _ready(self, *, sent: bool) -> Any:
        """The statement, prepared on a connection that is open.

        What was sent over a connection that is lost may still be waiting for the gate. So the server process that it
        was sent to is ended first; then it has been done or never will be.
        """
        if self._is_lost():
            self._drop()
            connection = await self._connect()
            try:
                started_at = await connection.fetchval(
                    "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
                )
                self._statement = await connection.prepare(STATEMENT)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
            self._backend = _Backend(connection.get_server_pid(), started_at)
        if self._connection is None:
            raise asyncpg.InterfaceError("there is no connection")
        if sent and self._lost is not None:
            ended = await self._connection.fetchval(
                "SELECT pg_terminate_backend(pid, $3) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2",
                self._lost.pid,
                self._lost.started_at,
                _TERMINATE_MILLISECONDS,
            )
            if ended is False:
                raise TimeoutError("the server process of the lost connection goes on")
            self._lost = None
        return self._statement

    def _is_lost(self) -> bool:
        return self._connection is None or self._connection.is_closed()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None
        self._statement = None

    # Patience

    async def _watch(self) -> None:
        """Tell those who have waited too long. What they wait for may still happen; it stays unacknowledged."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            latest = loop.time() - self._patience
            for pending in (*self._flying, *self._queue):
                if pending.since < latest:
                    _fail(pending, LogUnavailable("the log did not answer in time"))


def _settle(group: Sequence[Pending], answer: Any) -> None:
    outcomes, epochs, positions, versions, times, sources, gate_wait = answer
    now = asyncio.get_running_loop().time()
    measures.answered(outcomes, [now - pending.since for pending in group], gate_wait)
    for place, pending in enumerate(group):
        outcome = outcomes[place]
        if outcome in ("appended", "repeated"):
            if not pending.answer.done():
                pending.answer.set_result(Appended(epochs[place], positions[place], versions[place], times[place]))
        else:
            _fail(pending, _refusal(outcome, pending, sources[place], positions[place]))


def _refusal(outcome: str, pending: Pending, source: str | None, position: int | None) -> Exception:
    match outcome:
        case "conflict":
            return VersionConflict(pending.encoded.append.stream)
        case "name_taken":
            return NameTaken()
        case "used":
            return AlreadyUsed()
        case "fenced" if source is not None and position is not None:
            return Fenced(source, position)
        case "fenced" if source is None:
            return EpochOver()
        case _:
            return AppendFailed(ValueError(outcome))


def _unavailable(failure: BaseException) -> Refusal:
    if isinstance(failure, asyncpg.LockNotAvailableError):
        return LogUnavailable("too many append at once")
    return LogUnavailable()


def _fail_all(group: Iterable[Pending], failure: Refusal) -> None:
    for pending in group:
        _fail(pending, failure)


def _fail(pending: Pending, failure: Exception) -> None:
    with suppress(asyncio.InvalidStateError):
        pending.answer.set_exception(failure)
        if isinstance(failure, LogUnavailable):
            measures.not_answered(measures.UNAVAILABLE)
        elif isinstance(failure, AppendFailed):
            measures.not_answered(measures.FAILED)
