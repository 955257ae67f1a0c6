"""One tour date: added by somebody, changed by the same, gone for good once it is removed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import assert_never

from services.resource.domain.rows import Author, check_text, invalid, not_found
from services.resource.events import TourAdded, TourChanged, TourRemoved
from shared.decider import Decider
from shared.errors import Kind, Refusal
from shared.log.event import Event

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Tour:
    """What is said of a tour date."""

    title: str
    venue: str
    city: str
    date: str
    """ISO 8601: year, month and day."""


# Commands


@dataclass(frozen=True, slots=True)
class Add:
    """Have one more tour date."""

    tour_id: str
    author: Author
    tour: Tour


@dataclass(frozen=True, slots=True)
class Change:
    """Let it be as stated now."""

    tour_id: str
    author: Author
    tour: Tour


@dataclass(frozen=True, slots=True)
class Remove:
    """Have it no longer."""

    tour_id: str
    author: Author


Command = Add | Change | Remove


# State


@dataclass(frozen=True, slots=True)
class State:
    """A tour date as it stands."""

    owner: str | None = None
    """None: nobody has added it."""
    tour: Tour | None = None
    """None: there is none, not yet or no longer."""


def decide(command: Command, state: State) -> Sequence[Event]:
    """What a command leads to. Asking for what already is so changes nothing."""
    if isinstance(command, Add):
        if state.owner is not None:
            raise Refusal(Kind.ALREADY_EXISTS, "already_exists", "there is such a tour already")
        _check(command.tour)
        return (TourAdded(tour_id=command.tour_id, **_said(command.author, command.tour)),)
    if state.tour is None or state.owner != command.author.sub:
        raise not_found("tour")
    match command:
        case Change(tour_id=tour_id, author=author, tour=tour):
            _check(tour)
            return () if tour == state.tour else (TourChanged(tour_id=tour_id, **_said(author, tour)),)
        case Remove(tour_id=tour_id, author=author):
            return (TourRemoved(tour_id=tour_id, sub=author.sub, client_id=author.client_id),)
        case _:
            assert_never(command)


def evolve(state: State, event: Event) -> State:
    """How the tour date stands after an event."""
    match event:
        case TourAdded(sub=sub) | TourChanged(sub=sub):
            return State(sub, Tour(event.title, event.venue, event.city, event.date))
        case TourRemoved():
            return State(state.owner, None)
        case _:
            return state


decider: Decider[Command, State] = Decider("tour", State(), decide, evolve)


def _said(author: Author, tour: Tour) -> dict[str, str]:
    return {
        "sub": author.sub,
        "client_id": author.client_id,
        "title": tour.title,
        "venue": tour.venue,
        "city": tour.city,
        "date": tour.date,
    }


def _check(tour: Tour) -> None:
    check_text(tour.title, "title")
    check_text(tour.venue, "venue")
    check_text(tour.city, "city")
    try:
        if _DATE.fullmatch(tour.date):
            date.fromisoformat(tour.date)
            return
    except ValueError:
        pass
    raise invalid("date has to be a day, written like 1986-07-12")
