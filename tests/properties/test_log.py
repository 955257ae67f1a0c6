"""The log against a model of it: commands in groups, with versions, names, once-keys, denials and fences."""

import hashlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shared.denials import DenialKind, DenialRule
from shared.log.append import Append, AsOf, Fence, Name, OnceKey
from shared.log.event import Event
from tests.support.hashes import is_intact
from tests.support.postgres import Database, Databases
from tests.support.theatre import ALL, TENANTS, Barred, Outcome, Sold, context, send

TOMORROW = datetime.now(UTC) + timedelta(days=1)
PARTIES = ("p", "q", "r")
_examples = itertools.count(1)


@dataclass(frozen=True)
class Command:
    """What somebody wants to append; where it says `behind`, they know less than there is."""

    behind: int | None
    """How many versions; None: a stream of its own with a single event."""
    events: tuple[tuple[str, DenialRule] | None, ...]
    """Tickets sold (None), or parties denied."""
    names: frozenset[str]
    once: frozenset[str]
    parties: frozenset[str] | None
    as_of_behind: int


def commands() -> st.SearchStrategy[Command]:
    event = st.none() | st.tuples(st.sampled_from(PARTIES), st.sampled_from(list(DenialRule)))
    return st.builds(
        Command,
        behind=st.none() | st.sampled_from([0, 0, 0, 1, 2, -1]),
        events=st.lists(event, min_size=1, max_size=3).map(tuple),
        names=st.frozensets(st.sampled_from("klmnopqr"), max_size=2),
        once=st.frozensets(st.sampled_from("klmnopqr"), max_size=2),
        parties=st.none() | st.frozensets(st.sampled_from(PARTIES), max_size=2),
        as_of_behind=st.integers(min_value=0, max_value=6),
    )


GROUPS = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), commands(), min_size=1, max_size=6).map(lambda d: list(d.items())),
    min_size=1,
    max_size=8,
)


@dataclass
class Model:
    """The log in a few lines."""

    position: int
    versions: dict[str, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    once: set[str] = field(default_factory=set)
    denials: list[tuple[str, int, str]] = field(default_factory=list)
    """Party, position, rule."""
    written: list[tuple[int, str, int]] = field(default_factory=list)
    """Position, stream, version."""

    def _fenced(self, command: Command, start: int, since: int) -> int:
        """Position of the last denial that the command had to know of; 0: none."""
        seen = [0]
        for party, position, rule in self.denials[since:]:
            if party in (command.parties or ()) and position > start and rule != "lifted":
                seen.append(position)
        return max(seen)

    def run(self, group: list[tuple[str, Command]], streams: list[str], expected: list[int | None]) -> list[Outcome]:
        """What has to become of a group."""
        names, once, denials = set(self.names), set(self.once), len(self.denials)
        start = self.position
        outcomes = []
        for (_, command), stream, version in zip(group, streams, expected, strict=True):
            as_of = max(0, start - command.as_of_behind)
            before = [d for d in self.denials[:denials] if d[1] > as_of]
            fenced = max(
                [0, *(p for party, p, rule in before if party in (command.parties or ()) and rule != "lifted")]
            )
            if version is not None and version != self.versions.get(stream, 0):
                outcomes.append(Outcome("conflict", None, None, None))
            elif command.names & names:
                outcomes.append(Outcome("name_taken", None, None, None))
            elif command.once & once:
                outcomes.append(Outcome("used", None, None, None))
            elif fenced:
                outcomes.append(Outcome("fenced", fenced, None, "office"))
            elif command.names & self.names:
                outcomes.append(Outcome("name_taken", None, None, None))
            elif command.once & self.once:
                outcomes.append(Outcome("used", None, None, None))
            elif fenced := self._fenced(command, 0, denials):
                outcomes.append(Outcome("fenced", fenced, None, "office"))
            else:
                outcomes.append(self._append(command, stream, version))
        return outcomes

    def _append(self, command: Command, stream: str, version: int | None) -> Outcome:
        at = version or 0
        for event in command.events if version is not None else command.events[:1]:
            self.position += 1
            at += 1
            self.written.append((self.position, stream, at))
            if event is not None:
                self.denials.append((event[0], self.position, event[1].value))
        if version is not None:
            self.versions[stream] = at
        self.names |= command.names
        self.once |= command.once
        return Outcome("appended", self.position, at, None)


@pytest.fixture
async def theatre(databases: Databases) -> AsyncIterator[Database]:
    async with databases.fresh(TENANTS) as fresh:
        yield fresh


@pytest.fixture
async def office(theatre: Database) -> AsyncIterator[asyncpg.Connection]:
    async with theatre.connection("office") as connection:
        yield connection


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making a failure smaller would take minutes
)
@given(groups=GROUPS)
async def test_the_log_does_what_its_model_does(
    theatre: Database, office: asyncpg.Connection, groups: list[list[tuple[str, Command]]]
) -> None:
    example = f"e{next(_examples)}"
    singles = itertools.count(1)
    head = await office.fetchrow("SELECT position, denial_number FROM log.head")
    model = Model(head["position"])
    sent: list[Append] = []
    for group in groups:
        streams: list[str] = []
        expected: list[int | None] = []
        for letter, command in group:
            alone = command.behind is None
            streams.append(f"ticket-{example}-{f'single{next(singles)}' if alone else letter}")
            version = None
            if command.behind is not None:
                version = max(0, model.versions.get(streams[-1], 0) - command.behind)
            expected.append(version)
        appends = [
            _append(example, command, stream, version, model.position)
            for (_, command), stream, version in zip(group, streams, expected, strict=True)
        ]
        wanted = model.run(group, streams, expected)
        found = await send(office, *appends)
        assert found == wanted
        again = await send(office, *appends, resend=True)
        for first, second in zip(found, again, strict=True):
            if first.outcome == "appended":
                assert second == Outcome("repeated", first.position, first.version, None)
            else:
                assert second.outcome not in ("appended", "repeated")
        sent += appends

    log = await theatre.log("watch", ALL, pool_size=2)
    rows = await log.read_rows(head["position"], limit=10_000)
    assert [(row.position, row.stream, row.version) for row in rows] == model.written
    assert all(is_intact(row) for row in rows)
    denials = await log.denials_after(head["denial_number"], 10_000)
    assert [(d.denial.id.removeprefix(example), d.position, d.denial.rule.value) for d in denials] == model.denials
    assert [d.number for d in denials] == [head["denial_number"] + n for n in range(1, len(denials) + 1)]
    await log.close()


def _append(example: str, command: Command, stream: str, version: int | None, position: int) -> Append:
    events: list[Event] = [
        Sold(ticket=example) if event is None else Barred(who=example + event[0], rule=event[1])
        for event in command.events
    ]
    fence = None
    if command.parties is not None:
        as_of = {"office": max(0, position - command.as_of_behind)}
        fence = Fence(AsOf(1, as_of), tuple((DenialKind.CLIENT, example + party) for party in sorted(command.parties)))
    return Append(
        stream,
        version,
        tuple(events if version is not None else events[:1]),
        context(),
        fence=fence,
        names=tuple(Name(_digest(example, name)) for name in sorted(command.names)),
        once=tuple(OnceKey(_digest(example, key), TOMORROW) for key in sorted(command.once)),
    )


def _digest(example: str, name: str) -> bytes:
    return hashlib.sha256(f"{example} {name}".encode()).digest()
