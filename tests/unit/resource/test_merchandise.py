from dataclasses import replace

import pytest

from services.resource.domain.merchandise import Add, Article, Change, Remove, decider
from services.resource.domain.rows import Author
from services.resource.events import MerchandiseAdded, MerchandiseChanged, MerchandiseRemoved
from tests.support.decider import given

FREDDIE = Author("freddie", "com.backstagehub/app")
FAN = Author("fan", "com.backstagehub/app")
SHIRT = Article("Tour shirt", 1500, 200)
ADDED = MerchandiseAdded(
    merchandise_id="m",
    sub="freddie",
    client_id="com.backstagehub/app",
    title="Tour shirt",
    price_cents=1500,
    stock=200,
)
REMOVED = MerchandiseRemoved(merchandise_id="m", sub="freddie", client_id="com.backstagehub/app")


def test_the_life_of_an_article() -> None:
    added = given(decider).when(Add("m", FREDDIE, SHIRT)).then(ADDED)
    changed = MerchandiseChanged(**{**ADDED.model_dump(), "stock": 199})
    sold = added.when(Change("m", FREDDIE, replace(SHIRT, stock=199))).then(changed)
    sold.when(Remove("m", FREDDIE)).then(REMOVED)


def test_a_change_to_what_it_is_changes_nothing() -> None:
    given(decider, ADDED).when(Change("m", FREDDIE, SHIRT)).then_nothing()


def test_it_is_added_once() -> None:
    given(decider, ADDED).when(Add("m", FREDDIE, SHIRT)).refused("already_exists")
    given(decider, ADDED, REMOVED).when(Add("m", FREDDIE, SHIRT)).refused("already_exists")


def test_only_its_owner_changes_or_removes_it() -> None:
    for command in (Change("m", FAN, SHIRT), Remove("m", FAN)):
        theirs = given(decider, ADDED).when(command).refused("not_found")
        absent = given(decider).when(command).refused("not_found")
        assert theirs.message == absent.message


def test_what_is_gone_stays_gone() -> None:
    for command in (Change("m", FREDDIE, SHIRT), Remove("m", FREDDIE)):
        given(decider, ADDED, REMOVED).when(command).refused("not_found")


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (replace(SHIRT, title=""), "title"),
        (replace(SHIRT, price_cents=-1), "price_cents"),
        (replace(SHIRT, price_cents=100_000_001), "price_cents"),
        (replace(SHIRT, stock=-1), "stock"),
        (replace(SHIRT, stock=1_000_000_001), "stock"),
    ],
)
def test_figures_have_bounds(wrong: Article, name: str) -> None:
    given(decider).when(Add("m", FREDDIE, wrong)).refused("invalid_request", name)
