"""The API's tables: how events become rows, and the questions that are answered from them.

The rows are written in the append of the event, so whoever adds a tour and reads it back finds it. Every question
names whose rows it is about; none can be asked about everybody's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import asyncpg

from services.resource.domain.merchandise import Article
from services.resource.domain.tour import Tour
from services.resource.events import (
    MerchandiseAdded,
    MerchandiseChanged,
    MerchandiseRemoved,
    TourAdded,
    TourChanged,
    TourRemoved,
)
from shared.log.connections import Connections
from shared.log.event import Delete, Put, Recorded, RowChange
from shared.questions import ask

TOURS = "resource.tours"
MERCHANDISE = "resource.merchandise"


# From events to rows


def project(recorded: Recorded) -> Iterable[RowChange]:
    """What the tables learn of an event."""
    match recorded.event:
        case TourAdded() | TourChanged() as tour:
            row = {
                "tour_id": tour.tour_id,
                "sub": tour.sub,
                "title": tour.title,
                "venue": tour.venue,
                "city": tour.city,
                "date": tour.date,
                "position": recorded.position,
            }
            return (Put(TOURS, row),)
        case TourRemoved(tour_id=tour_id):
            return (Delete(TOURS, {"tour_id": tour_id}),)
        case MerchandiseAdded() | MerchandiseChanged() as article:
            row = {
                "merchandise_id": article.merchandise_id,
                "sub": article.sub,
                "title": article.title,
                "price_cents": article.price_cents,
                "stock": article.stock,
                "position": recorded.position,
            }
            return (Put(MERCHANDISE, row),)
        case MerchandiseRemoved(merchandise_id=merchandise_id):
            return (Delete(MERCHANDISE, {"merchandise_id": merchandise_id}),)
        case _:
            return ()


# Questions


@dataclass(frozen=True, slots=True)
class After:
    """Where a page of a list begins: after the row with this place in the order."""

    key: str
    """What the list is ordered by."""
    row_id: str


START = After("", "")


async def tour(pool: Connections, sub: str, tour_id: str) -> Tour | None:
    """This tour of this user."""
    row = await ask(pool.fetchrow("SELECT * FROM resource.tours WHERE sub = $1 AND tour_id = $2", sub, tour_id))
    return None if row is None else _tour(row)


async def tours(pool: Connections, sub: str, after: After, limit: int) -> Sequence[tuple[str, Tour]]:
    """Tours of this user with their ids, by date."""
    page = """
        SELECT * FROM resource.tours WHERE sub = $1 AND (date, tour_id) > ($2, $3) ORDER BY date, tour_id LIMIT $4
    """
    rows = await ask(pool.fetch(page, sub, after.key, after.row_id, limit))
    return [(row["tour_id"], _tour(row)) for row in rows]


async def article(pool: Connections, sub: str, merchandise_id: str) -> Article | None:
    """This article of this user."""
    one = "SELECT * FROM resource.merchandise WHERE sub = $1 AND merchandise_id = $2"
    row = await ask(pool.fetchrow(one, sub, merchandise_id))
    return None if row is None else _article(row)


async def merchandise(pool: Connections, sub: str, after: After, limit: int) -> Sequence[tuple[str, Article]]:
    """Articles of this user with their ids, by title."""
    page = """
        SELECT * FROM resource.merchandise WHERE sub = $1 AND (title, merchandise_id) > ($2, $3)
        ORDER BY title, merchandise_id LIMIT $4
    """
    rows = await ask(pool.fetch(page, sub, after.key, after.row_id, limit))
    return [(row["merchandise_id"], _article(row)) for row in rows]


def _tour(row: asyncpg.Record) -> Tour:
    return Tour(row["title"], row["venue"], row["city"], row["date"])


def _article(row: asyncpg.Record) -> Article:
    return Article(row["title"], row["price_cents"], row["stock"])
