"""A kind of rows that the API has: what its bodies are, which commands change it, where it is read."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from services.resource import read_model
from services.resource.domain import merchandise, tour
from services.resource.domain.rows import Author
from services.resource.read_model import After
from shared.decider import Decider
from shared.log.connections import Connections

R = TypeVar("R")
"""What is said of one row."""
C = TypeVar("C")
S = TypeVar("S")


class Body(BaseModel):
    """The JSON body of a write: these members, of these types, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TourBody(Body):
    """A tour date."""

    title: str
    venue: str
    city: str
    date: str


class ArticleBody(Body):
    """An article of merchandise."""

    title: str
    price_cents: int
    stock: int


@dataclass(frozen=True, slots=True)
class Collection(Generic[R, C, S]):
    """A kind of rows."""

    path: str
    """Of the list; one row is below it."""
    name: str
    """Of the list, in answers and in records of access."""
    one: str
    """The same for one row."""
    body: type[Body]
    decider: Decider[C, S]
    row: Callable[[Any], R]
    """From a body that was read to what it says."""
    add: Callable[[str, Author, R], C]
    change: Callable[[str, Author, R], C]
    remove: Callable[[str, Author], C]
    standing: Callable[[S], R | None]
    """The row in the state that a command led to."""
    read: Callable[[Connections, str, str], Awaitable[R | None]]
    read_page: Callable[[Connections, str, After, int], Awaitable[Sequence[tuple[str, R]]]]
    key: Callable[[R], str]
    """What the list is ordered by."""


TOURS: Collection[tour.Tour, tour.Command, tour.State] = Collection(
    path="/api/tours",
    name="tours",
    one="tour",
    body=TourBody,
    decider=tour.decider,
    row=lambda body: tour.Tour(**dict(body)),
    add=tour.Add,
    change=tour.Change,
    remove=tour.Remove,
    standing=lambda state: state.tour,
    read=read_model.tour,
    read_page=read_model.tours,
    key=lambda row: row.date,
)
MERCHANDISE: Collection[merchandise.Article, merchandise.Command, merchandise.State] = Collection(
    path="/api/merchandise",
    name="merchandise",
    one="article",
    body=ArticleBody,
    decider=merchandise.decider,
    row=lambda body: merchandise.Article(**dict(body)),
    add=merchandise.Add,
    change=merchandise.Change,
    remove=merchandise.Remove,
    standing=lambda state: state.article,
    read=read_model.article,
    read_page=read_model.merchandise,
    key=lambda row: row.title,
)


def shown(row_id: str, row: Any) -> dict[str, Any]:
    """A row as the API answers it."""
    return {"id": row_id, **asdict(row)}
