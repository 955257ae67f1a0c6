"""The one way a command becomes events: load, fold, decide, append; again if somebody else was faster."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from shared.decider import Decider
from shared.errors import Unavailable
from shared.log.append import Append, Appended, Context, EpochOver, Fence, Fenced, Name, OnceKey, VersionConflict
from shared.log.event import Event, Recorded, RowChange, Stamp
from shared.log.log import Log, Stream

C = TypeVar("C")
S = TypeVar("S")

ATTEMPTS = 3
"""How often a command is decided anew after a conflict before the caller is told."""

Project = Callable[[Recorded], Iterable[RowChange]]
"""Pure: from an event to what the service's own tables learn of it."""


class CatchUp(Protocol):
    """Brings the service's view of another source's facts up to a position, bounded in time."""

    async def __call__(self, source: str, position: int) -> None:
        """Return when everything of `source` up to `position` is in the view; raises `Unavailable` past the bound."""


@dataclass(frozen=True, slots=True)
class Handled(Generic[S]):
    """A command that was carried out."""

    state: S
    position: int
    """Of the last event written; the stream's latest known if there was nothing to write."""
    events: tuple[Event, ...]
    appended: Appended | None
    """None if there was nothing to write (the state already was as asked)."""


@dataclass(frozen=True, slots=True)
class Guards:
    """What else must hold for the append, and what travels with it."""

    fence: Fence | None = None
    names: tuple[Name, ...] = ()
    once: tuple[OnceKey, ...] = ()
    personal_key: bytes | None = None
    rows: tuple[RowChange, ...] = ()
    """Rows beside those that `project` derives: secrets for the vault, which are never in events."""


Guarding = Callable[[Stream], Awaitable[Guards]]
"""Computed anew for each attempt, since what was known may have grown."""


async def _unguarded(_: Stream) -> Guards:
    return Guards()


async def handle(  # noqa: PLR0913  (each is one independent part of the course of a command)
    log: Log,
    decider: Decider[C, S],
    aggregate_id: str,
    command: C | Callable[[], Awaitable[C]],
    *,
    context: Context,
    project: Project,
    guarding: Guarding = _unguarded,
    catch_up: CatchUp | None = None,
) -> Handled[S]:
    """Carry out `command` on one aggregate.

    `command` may be an async function that builds it: it is then called for each attempt, because a command that
    carries facts of other services has to be built from what is known now.

    A repeated `context.command_id` whose events are already in the stream is answered with their position, and
    decides nothing. Raises the decider's `Refusal`s, and `Unavailable` when `ATTEMPTS` were not enough.
    """
    stream_name = decider.stream(aggregate_id)
    for _attempt in range(ATTEMPTS):
        wanted = await command() if callable(command) else command
        stream = await log.load(stream_name)
        state = decider.fold(recorded.event for recorded in stream.events)
        done = [recorded for recorded in stream.events if recorded.command_id == context.command_id]
        if done:
            return Handled(state, _position(done[-1]), tuple(r.event for r in done), None)
        guards = await guarding(stream)
        events = tuple(decider.decide(wanted, state))
        if not events:
            return Handled(state, _position(stream.events[-1]) if stream.events else 0, (), None)
        rows = rows_of(events, stream_name, stream.version, context, project)
        append = Append(
            stream=stream_name,
            expected_version=stream.version,
            events=events,
            context=context,
            rows=(*rows, *guards.rows),
            fence=guards.fence,
            names=guards.names,
            once=guards.once,
            personal_key=guards.personal_key,
        )
        try:
            appended = await log.append(append)
        except (VersionConflict, EpochOver):
            continue
        except Fenced as fenced:
            if catch_up is not None:
                await catch_up(fenced.source, fenced.position)
            continue
        for event in events:
            state = decider.evolve(state, event)
        return Handled(state, appended.position, events, appended)
    raise Unavailable("busy", "too many changes to the same thing at once; try again")


def rows_of(
    events: Sequence[Event], stream: str, version: int, context: Context, project: Project
) -> tuple[RowChange, ...]:
    """The row changes of events that are about to be appended together, each stamped with its own event's place.

    `version` is that of the stream before them.
    """
    changes: list[RowChange] = []
    for number, event in enumerate(events, start=1):
        found = project(pending(event, stream, version + number, context))
        before_last = len(events) - number
        changes += [replace(change, before_last=before_last) for change in found] if before_last else found
    return tuple(changes)


def pending(event: Event, stream: str, version: int, context: Context) -> Recorded:
    """An event on its way into the log, for `project`: what the log will give it stands as `Stamp`s."""
    return Recorded(
        event=event,
        stream=stream,
        version=version,
        position=Stamp.POSITION,
        epoch=Stamp.EPOCH,
        recorded_at=Stamp.RECORDED_AT,
        actor=context.actor,
        command_id=context.command_id,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
    )


def _position(recorded: Recorded) -> int:
    if isinstance(recorded.position, Stamp):
        raise TypeError("a loaded event has a position")
    return recorded.position
