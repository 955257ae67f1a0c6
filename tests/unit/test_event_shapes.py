"""Stored events of older shapes: read as the present one, and never written again."""

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared.log.codec import UnreadableEvent, decode
from shared.log.event import SHAPE, Catalogue, Event, Personal
from tests.support.hashes import data_digest

KEY = bytes(range(32))


class BookedFirst(Event, stored_as="office.Booked"):
    """As it was written at first."""

    seat: str
    """Row and number: `B12`."""
    sub: str
    name: Personal[str]


class BookedSecond(Event, stored_as="office.Booked"):
    """As it was written next; only the first upcaster existed."""

    upcasters = (lambda old: {**old, "row": old["seat"][0], "seat": int(old["seat"][1:])},)

    row: str
    seat: int
    sub: str
    name: Personal[str]


def split_the_seat(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "row": old["seat"][0], "seat": int(old["seat"][1:])}


def gather_the_place(old: dict[str, Any]) -> dict[str, Any]:
    return {"place": {"row": old["row"], "seat": old["seat"]}, "sub": old["sub"], "guest": old["name"]}


class Booked(Event, stored_as="office.Booked"):
    """As it is written now."""

    upcasters = (split_the_seat, gather_the_place)

    place: dict[str, str | int]
    sub: str
    guest: Personal[str]

    def data_subject(self) -> str | None:
        return self.sub


FIRST = BookedFirst(seat="B12", sub="freddie", name=Personal("Farrokh")).to_json(KEY)
SECOND = BookedSecond(row="B", seat=12, sub="freddie", name=Personal("Farrokh")).to_json(KEY)
NOW = Booked(place={"row": "B", "seat": 12}, sub="freddie", guest=Personal("Farrokh")).to_json(KEY)


def test_each_shape_says_which_it_is_but_for_the_first() -> None:
    assert [json.loads(text).get(SHAPE) for text in (FIRST, SECOND, NOW)] == [None, 2, 3]
    assert [one.shape() for one in (BookedFirst, BookedSecond, Booked)] == [1, 2, 3]
    assert NOW.startswith('{"$shape":3,"guest":"p1.'), "canonical all the same"


@pytest.mark.parametrize("text", [FIRST, SECOND, NOW], ids=["first", "second", "now"])
def test_every_shape_is_read_as_the_present_one(text: str) -> None:
    booked = Booked.from_json(text, KEY)
    assert (booked.place, booked.sub, booked.guest.reveal()) == ({"row": "B", "seat": 12}, "freddie", "Farrokh")
    assert Booked.from_json(text.encode(), KEY) == booked
    assert Booked.from_json(text).guest.reveal() is None, "ciphertext moves without its key"


def test_what_is_written_is_the_present_shape_and_reads_as_the_same_bytes() -> None:
    assert Booked.from_json(NOW, KEY).to_json(KEY) == NOW
    assert json.loads(Booked.from_json(FIRST).to_json())[SHAPE] == 3


class Row(dict[str, Any]):
    """A record of the database."""


def row(text: str, position: int = 1) -> Mapping[str, Any]:
    return Row(
        position=position,
        type="office.Booked",
        data=text,
        stream="booking-b",
        version=position,
        epoch=1,
        recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
        actor="user:freddie",
        command_id=UUID(int=1),
        correlation_id="c",
        causation_id=None,
    )


class Keys:
    async def keys(self, subs: Collection[str]) -> Mapping[str, bytes]:
        return dict.fromkeys(subs, KEY)


async def test_the_log_gives_the_present_shape_and_keeps_the_stored_text() -> None:
    rows = [row(text, position) for position, text in enumerate((FIRST, SECOND, NOW), start=1)]
    before = [data_digest(b"salt", one["data"]) for one in rows]
    events = [one.event for one in await decode(rows, Catalogue(Booked), Keys())]
    assert all(isinstance(event, Booked) and event.guest.reveal() == "Farrokh" for event in events)
    assert [data_digest(b"salt", one["data"]) for one in rows] == before
    assert before[0] == hashlib.sha256(b"salt" + FIRST.encode()).digest()


def with_members(text: str, **members: Any) -> str:
    return json.dumps({**json.loads(text), **members})


WRONG = {
    "a shape from the future": with_members(NOW, **{SHAPE: 4}),
    "the first shape, stated": with_members(FIRST, **{SHAPE: 1}),
    "shape 0": with_members(NOW, **{SHAPE: 0}),
    "a negative shape": with_members(NOW, **{SHAPE: -1}),
    "a shape that is text": with_members(NOW, **{SHAPE: "3"}),
    "a shape that is a truth value": with_members(NOW, **{SHAPE: True}),
    "a shape that is a fraction": with_members(NOW, **{SHAPE: 3.0}),
    "no shape": with_members(NOW, **{SHAPE: None}),
    "the second shape, said to be the third": with_members(SECOND, **{SHAPE: 3}),
    "the third shape, said to be the second": with_members(NOW, **{SHAPE: 2}),
    "the second shape, said to be the first": json.dumps({k: v for k, v in json.loads(SECOND).items() if k != SHAPE}),
    "a member too many": with_members(NOW, more=1),
    "a member too many for the second shape": with_members(NOW, **{SHAPE: 2}, row="B", seat=12, name="p1.", more=1),
    "the first shape without a seat": json.dumps({"sub": "freddie", "name": "p1."}),
    "the first shape with another seat": with_members(FIRST, seat=None),
    "a list": "[]",
    "nothing": "null",
    "no JSON": "{",
}


@pytest.mark.parametrize("text", [pytest.param(text, id=what) for what, text in WRONG.items()])
async def test_what_nobody_wrote_this_way_is_an_error(text: str) -> None:
    with pytest.raises(ValueError) as wrong:  # noqa: PT011  (whatever is wrong with it)
        Booked.from_json(text, KEY)
    assert "Farrokh" not in str(wrong.value)
    with pytest.raises(UnreadableEvent):
        await decode([row(text)], Catalogue(Booked), Keys())


@pytest.mark.parametrize(
    ("older", "text"), [(BookedFirst, SECOND), (BookedFirst, NOW), (BookedSecond, NOW)], ids=["1-2", "1-3", "2-3"]
)
def test_a_replica_that_is_not_upgraded_stops_at_a_newer_shape(older: type[Event], text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (one class says the member is unknown, the other the shape)
        older.from_json(text, KEY)


@given(row=st.sampled_from("ABCDEFGH"), seat=st.integers(1, 99), sub=st.text(min_size=1), name=st.text())
def test_the_shapes_mean_the_same(row: str, seat: int, sub: str, name: str) -> None:
    first = BookedFirst(seat=f"{row}{seat}", sub=sub, name=Personal(name)).to_json(KEY)
    second = BookedSecond(row=row, seat=seat, sub=sub, name=Personal(name)).to_json(KEY)
    found = [Booked.from_json(text, KEY) for text in (first, second)]
    assert {(str(one.place), one.sub, one.guest.reveal()) for one in found} == {
        (str({"row": row, "seat": seat}), sub, name)
    }


def test_the_schema_states_the_shape() -> None:
    schema = Booked.model_json_schema()
    assert schema["properties"][SHAPE] == {"const": 3, "type": "integer"}
    assert SHAPE in schema["required"]
    inside = TypeAdapter(list[Booked]).json_schema()["$defs"]["Booked"]
    assert inside["properties"][SHAPE] == {"const": 3, "type": "integer"}
    assert SHAPE not in BookedFirst.model_json_schema()["properties"]
