"""Pages of the log, however large its events are and wherever it has gaps: everything comes once and in order."""

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from services.ledger.past import Past
from shared.evidence.stored import stored
from shared.ids import new_id
from shared.log import pages
from shared.log.append import Append
from shared.log.event import Event, Retention
from shared.log.log import Log
from shared.log.row import EventFilter
from tests.support.postgres import Database, Databases
from tests.support.theatre import ALL, TENANTS, Noted, Opened, Sold, context

BYTES = 1000
"""Of a page, so that a few events fill it."""
Pages = list[list[int]]
"""Positions, page by page."""


@dataclass(frozen=True)
class Written:
    """An event that stands in the log."""

    position: int
    type: str
    size: int


@dataclass(frozen=True)
class Wanted:
    """An event to be written."""

    kind: type[Event]
    length: int
    letter: str
    gone: bool
    """It is taken out of the log again."""

    def event(self) -> Event:
        text = self.letter * self.length
        if self.kind is Sold:
            return Sold(ticket=text)
        return Noted(note=text) if self.kind is Noted else Opened(who=text)


WANTED = st.builds(
    Wanted,
    kind=st.sampled_from([Sold, Sold, Noted, Opened]),
    # Around what fills a page by itself, or together with one or two more.
    length=st.sampled_from([1, 1, 1, 300, 460, 475, 980, 988, 989, 990, 2500]) | st.integers(1, 1100),
    letter=st.sampled_from(["x", "x", "é", "🎸"]),
    gone=st.sampled_from([False] * 5 + [True]),
)


@pytest.fixture
async def theatre(databases: Databases) -> AsyncIterator[Database]:
    async with databases.fresh(TENANTS) as fresh:
        fresh.spoiled = True
        yield fresh


@pytest.fixture
async def logs(theatre: Database) -> dict[str, Log]:
    return {login: await theatre.log(login, ALL, pool_size=2) for login in ("office", "door", "watch")}


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", BYTES)


async def write(theatre: Database, logs: dict[str, Log], wanted: Sequence[Wanted]) -> tuple[int, list[Written]]:
    """Write them, and take out those that are to be gone; answers the head before, and what is there."""
    before = (await logs["watch"].head()).position
    gone = []
    for one in wanted:
        event = one.event()
        category = {Sold: "ticket", Noted: "note", Opened: "visit"}[one.kind]
        appended = await logs[event.source].append(Append(f"{category}-{new_id()}", None, (event,), context()))
        if one.gone:
            gone.append(appended.position)
    async with theatre.connection() as connection:
        await connection.execute(f"DELETE FROM log.events WHERE position = ANY (ARRAY{gone}::bigint[])")  # noqa: S608
        rows = await connection.fetch(
            "SELECT position, type, octet_length(data) AS size FROM log.events WHERE position > $1 ORDER BY position",
            before,
        )
    return before, [Written(row["position"], row["type"], row["size"]) for row in rows]


async def facts(log: Log, sources: Sequence[str] | None, after: int, limit: int) -> Pages:
    """As a follower or a rebuild reads: the last page says that it is the last one, and no other does."""
    found: Pages = []
    while True:
        page = await log.read_page(after, sources=sources, limit=limit)
        found.append([one.position for one in page.events])  # type: ignore[misc]  # what is read has one
        if not page.full:
            return found
        after = found[-1][-1]


async def rows(log: Log, after: int, limit: int) -> Pages:
    """As the relay reads."""
    found: Pages = []
    while page := await log.read_rows(after, limit=limit):
        found.append([row.position for row in page])
        after = found[-1][-1]
    return found


async def evidence(log: Log, retention: Retention | None, after: int, limit: int) -> Pages:
    """As whoever verifies or archives reads."""
    found: Pages = []
    head = (await log.head()).position
    while after < head:
        seen, page = await stored(log, after, min(after + limit, head), retention)
        assert after < seen <= min(after + limit, head)
        found.append([row["position"] for row in page])
        assert all(after < position <= seen for position in found[-1])
        after = seen
    return found


def are_pages(found: Pages, expected: list[Written], limit: int) -> None:
    """Everything once and in order, and no page larger than it may be."""
    assert list(itertools.chain(*found)) == [one.position for one in expected]
    sizes = {one.position: one.size for one in expected}
    for page in found:
        assert len(page) <= limit
        assert sum(sizes[position] for position in page[:-1]) < BYTES


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making a failure smaller would take minutes
)
@given(wanted=st.lists(WANTED, max_size=14), limit=st.integers(1, 6))
@example(wanted=[Wanted(Sold, 990, "x", gone=False)] * 4, limit=3)
@example(wanted=[Wanted(Sold, 475, "x", gone=False)] * 6, limit=6)
@example(wanted=[Wanted(Sold, 1, "x", gone=False)] * 6, limit=2)
@example(wanted=[Wanted(Sold, 1, "x", gone=True), *[Wanted(Sold, 475, "x", gone=False)] * 6], limit=3)
@pytest.mark.usefixtures("small_pages")
async def test_everything_comes_once_and_in_order(
    theatre: Database, logs: dict[str, Log], wanted: list[Wanted], limit: int
) -> None:
    before, written = await write(theatre, logs, wanted)
    watch = logs["watch"]
    head = (await watch.head()).position
    of_the_office = [one for one in written if one.type != "door.Opened"]
    are_pages(await facts(watch, None, before, limit), written, limit)
    are_pages(await facts(watch, ("office", "door"), before, limit), written, limit)
    are_pages(await facts(logs["door"], ("office",), before, limit), of_the_office, limit)
    are_pages(await facts(logs["office"], None, before, limit), of_the_office, limit)
    are_pages(await rows(watch, before, limit), written, limit)
    are_pages(await evidence(watch, None, before, limit), written, limit)
    notes = [one for one in written if one.type == "office.Noted"]
    are_pages(await evidence(watch, Retention.EXPIRING, before, limit), notes, limit)

    past, matching = Past(watch, ALL), EventFilter(types=("office.Sold",))
    sold = [one for one in written if one.type == "office.Sold"]
    looked = [(seen, [row.position for row in page]) async for seen, page in past.matching(before, head, matching)]
    are_pages([page for _, page in looked], sold, len(sold))
    assert [seen for seen, _ in looked][-1:] == ([head] if wanted else [])
    looked = [(seen, [row.position for row in page]) async for seen, page in past.backwards(head, before, matching)]
    are_pages([page for _, page in reversed(looked)], sold, len(sold))
    assert [seen for seen, _ in looked][-1:] == ([before] if wanted else [])


@pytest.mark.usefixtures("small_pages")
async def test_two_events_that_somebody_put_in_one_place_come_together(theatre: Database, logs: dict[str, Log]) -> None:
    """Whoever verifies goes on after the last position of a page, and would not see the second one."""
    before, written = await write(theatre, logs, [Wanted(Sold, 990, "x", gone=False)] * 3)
    async with theatre.connection() as connection:
        await connection.execute(
            "CREATE TEMPORARY TABLE copied AS SELECT * FROM log.events WHERE position = $1", written[0].position
        )
        await connection.execute("UPDATE copied SET retention = 'expiring'")
        await connection.execute("INSERT INTO log.events SELECT * FROM copied")
    seen, page = await stored(logs["watch"], before, written[-1].position)
    assert (seen, [row["position"] for row in page]) == (written[0].position, [written[0].position] * 2)
