"""Three small services, to test the log without the real ones: the office, the door, and a watch that only reads."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from shared.denials import Denial, DenialKind, DenialRule
from shared.handle import pending
from shared.ids import CommandId, new_command_id, new_id
from shared.log.append import Append, Context
from shared.log.event import Catalogue, Event, Patch, Personal, Put, Recorded, Retention, RowChange
from shared.log.group import STATEMENT, Pending, arguments, encode
from shared.log.log import Log
from shared.log.migrate import Tenant
from shared.log.steps import Step
from shared.projector import Tables, plan
from shared.rebuild.projection import Projection
from tests.support.postgres import Database


class Sold(Event, stored_as="office.Sold"):
    """A ticket."""

    ticket: str
    seat: int = 1


class Noted(Event, stored_as="office.Noted"):
    """Not worth keeping."""

    retention = Retention.EXPIRING

    note: str


class Enrolled(Event, stored_as="office.Enrolled"):
    """A person."""

    sub: str
    name: Personal[str]
    nickname: Personal[str] | None = None

    def data_subject(self) -> str | None:
        return self.sub


class Barred(Event, stored_as="office.Barred"):
    """Somebody is not let in."""

    denial_kinds = frozenset({DenialKind.CLIENT, DenialKind.SESSION})

    who: str
    rule: DenialRule = DenialRule.STANDING
    kind: DenialKind = DenialKind.CLIENT
    until: datetime | None = None
    times: int = 1

    def denies(self) -> tuple[Denial, ...]:
        return (Denial(self.kind, self.who, self.rule, until=self.until),) * self.times


class Opened(Event, stored_as="door.Opened"):
    """Somebody was let in."""

    who: str


class Locked(Event, stored_as="door.Locked"):
    """The door bars somebody too."""

    denial_kinds = frozenset({DenialKind.CLIENT})

    who: str

    def denies(self) -> tuple[Denial, ...]:
        return (Denial(DenialKind.CLIENT, self.who, DenialRule.CUT_OFF),)


OFFICE = Catalogue(Sold, Noted, Enrolled, Barred)
DOOR = Catalogue(Sold, Noted, Enrolled, Barred, Opened, Locked)
ALL = DOOR
READ_MODEL = """
CREATE TABLE office.tickets (
    id text PRIMARY KEY,
    seat integer CHECK (seat > 0),
    note text DEFAULT 'none',
    tags text[],
    extra jsonb,
    secret bytea,
    sold_at timestamptz,
    epoch integer,
    position bigint
);
CREATE TABLE office.stubs (id text, part integer, PRIMARY KEY (part, id));
CREATE INDEX tickets_by_seat ON office.tickets (seat) WHERE seat > 1;
"""


def project_tickets(recorded: Recorded) -> Iterable[RowChange]:
    """What the office's tables learn of its own facts: of a sale, and of its repetition with another seat."""
    event = recorded.event
    if isinstance(event, Sold):
        seat = {"seat": event.seat, "position": recorded.position, "epoch": recorded.epoch}
        if recorded.version == 1:
            yield Put("office.tickets", {"id": event.ticket, "sold_at": recorded.recorded_at, **seat})
        else:
            yield Patch("office.tickets", {"id": event.ticket}, seat)
        yield Put("office.stubs", {"id": event.ticket, "part": recorded.version})


def project_known(recorded: Recorded) -> Iterable[RowChange]:
    """What the door learns of the office's facts."""
    event = recorded.event
    if isinstance(event, Sold):
        yield Put("door.known", {"ticket": event.ticket, "seat": event.seat, "position": recorded.position})


TICKETS = Projection("own", ("office",), project_tickets, ("tickets", "stubs"))
KNOWN = Projection("known", ("office",), project_known, ("known",))
TENANTS = (
    Tenant(
        "office",
        tuple(OFFICE),
        ("ticket", "note", "person", "bar"),
        steps=(Step(1, "0001_tables", READ_MODEL),),
        projections=(TICKETS,),
    ),
    Tenant(
        "door",
        (Opened, Locked),
        ("visit", "lock"),
        reads=("office",),
        steps=(
            Step(1, "0001_tables", "CREATE TABLE door.known (ticket text PRIMARY KEY, seat integer, position bigint)"),
        ),
        projections=(KNOWN,),
    ),
    Tenant("watch", (), (), reads=("office", "door"), takes_care=True),
    Tenant("stranger", (), ("street",)),
)


def context(command_id: CommandId | None = None) -> Context:
    """Somebody does something."""
    return Context("user:somebody", new_id(), command_id or new_command_id())


def sale(ticket: str | None = None, version: int | None = 0, *, seat: int = 1, **more: Any) -> Append:
    """A ticket is sold."""
    ticket = ticket or new_id()
    return Append(f"ticket-{ticket}", version, (Sold(ticket=ticket, seat=seat),), context(), **more)


async def sell(log: Log, ticket: str, version: int = 0, *, seat: int = 1) -> int:
    """A ticket is sold, and the office's tables know; answers the position."""
    here = context()
    event = Sold(ticket=ticket, seat=seat)
    stream = f"ticket-{ticket}"
    rows = tuple(project_tickets(pending(event, stream, version + 1, here)))
    return (await log.append(Append(stream, version, (event,), here, rows=rows))).position


def bar(who: str, rule: DenialRule = DenialRule.STANDING, **more: Any) -> Append:
    """Somebody is barred, or let in again."""
    return Append(f"bar-{new_id()}", None, (Barred(who=who, rule=rule, **more),), context())


@dataclass(frozen=True)
class Outcome:
    """What became of a command of a group."""

    outcome: str
    position: int | None
    version: int | None
    source: str | None


async def send(connection: asyncpg.Connection, *group: Append, resend: bool = False) -> list[Outcome]:
    """Send these commands in one statement, as the appender would."""
    tables = Tables.of(await connection.fetchval("SELECT session_user::text"), await connection.fetch(Tables.QUERY))
    loop = asyncio.get_running_loop()
    pending = [
        Pending(encode(append, [plan(change, tables) for change in append.rows]), loop.create_future(), 0.0)
        for append in group
    ]
    outcomes, _, positions, versions, _, sources, _ = await connection.fetchrow(
        STATEMENT, *arguments(pending, resend=resend)
    )
    return [Outcome(*one) for one in zip(outcomes, positions, versions, sources, strict=True)]


def won(outcomes: Sequence[Outcome]) -> list[str]:
    """Only what became of them."""
    return [one.outcome for one in outcomes]


async def positions(database: Database) -> list[int]:
    """Of all events, in order."""
    async with database.connection() as connection:
        return [row["position"] for row in await connection.fetch("SELECT position FROM log.events ORDER BY position")]
