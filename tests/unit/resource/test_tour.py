from dataclasses import replace

import pytest

from services.resource.domain.rows import Author
from services.resource.domain.tour import Add, Change, Remove, Tour, decider
from services.resource.events import TourAdded, TourChanged, TourRemoved
from tests.support.decider import given

FREDDIE = Author("freddie", "com.backstagehub/app")
FAN = Author("fan", "com.backstagehub/app")
WEMBLEY = Tour("Magic Tour", "Wembley Stadium", "London", "1986-07-12")
ADDED = TourAdded(
    tour_id="t",
    sub="freddie",
    client_id="com.backstagehub/app",
    title="Magic Tour",
    venue="Wembley Stadium",
    city="London",
    date="1986-07-12",
)
REMOVED = TourRemoved(tour_id="t", sub="freddie", client_id="com.setlist/app")


def test_the_life_of_a_tour() -> None:
    added = given(decider).when(Add("t", FREDDIE, WEMBLEY)).then(ADDED)
    later = replace(WEMBLEY, date="1986-07-13")
    changed = TourChanged(**{**ADDED.model_dump(), "date": "1986-07-13"})
    removed = (
        added.when(Change("t", FREDDIE, later)).then(changed).when(Remove("t", Author("freddie", "com.setlist/app")))
    )
    removed.then(REMOVED)


def test_a_change_to_what_it_is_changes_nothing() -> None:
    given(decider, ADDED).when(Change("t", FREDDIE, WEMBLEY)).then_nothing()


def test_it_is_added_once() -> None:
    given(decider, ADDED).when(Add("t", FREDDIE, WEMBLEY)).refused("already_exists")
    given(decider, ADDED, REMOVED).when(Add("t", FREDDIE, WEMBLEY)).refused("already_exists")


def test_only_its_owner_changes_or_removes_it() -> None:
    for command in (Change("t", FAN, WEMBLEY), Remove("t", FAN)):
        theirs = given(decider, ADDED).when(command).refused("not_found")
        absent = given(decider).when(command).refused("not_found")
        assert theirs.message == absent.message


def test_what_is_gone_stays_gone() -> None:
    for command in (Change("t", FREDDIE, WEMBLEY), Remove("t", FREDDIE)):
        given(decider, ADDED, REMOVED).when(command).refused("not_found")


@pytest.mark.parametrize("name", ["title", "venue", "city"])
@pytest.mark.parametrize("text", ["", " ", " x", "x ", "x" * 201, "a\nb", "a\u200bb", "a\u202eb"])
def test_words_are_what_they_look_like(name: str, text: str) -> None:
    wrong = replace(WEMBLEY, **{name: text})
    given(decider).when(Add("t", FREDDIE, wrong)).refused("invalid_request", name)
    given(decider, ADDED).when(Change("t", FREDDIE, wrong)).refused("invalid_request", name)


@pytest.mark.parametrize("date", ["", "1986-02-30", "1986-13-01", "19860712", "1986-W28-6", "12.07.1986", "१९८६-०७-१२"])
def test_a_date_is_a_day(date: str) -> None:
    given(decider).when(Add("t", FREDDIE, replace(WEMBLEY, date=date))).refused("invalid_request", "date")
