"""What is remembered of questions: exactly those bytes, and only as long as nothing has changed."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from services.token_issuer.remembered import SECONDS, Remembered, questions_in
from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot
from stagedoor.validation.v1 import validation_pb2 as pb

ASKED = st.builds(
    pb.ValidateRequest,
    token=st.text(max_size=300),
    audience=st.text(max_size=20),
    scopes=st.lists(st.text(max_size=5), max_size=3),
    minimum_position=st.integers(-1, 2**62),
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def view(clock: Clock) -> DenialView:
    found = DenialView(max_staleness=30.0)
    found.replace(Snapshot(position=10, number=0, epoch=1, denials=()), clock())
    return found


def denial(number: int) -> Denial:
    return Denial(
        number=number, position=10 + number, epoch=1, kind=DenialKind.CLIENT, id="x", rule=DenialRule.STANDING
    )


def remembered(clock: Clock, seen: DenialView) -> Remembered:
    found = Remembered(seen, clock)
    found.of("a")
    found.add("a", b"question", found.stand, 60.0)
    assert b"question" in found.of("a")
    return found


def test_it_is_remembered_for_its_caller_and_for_a_second() -> None:
    clock = Clock()
    found = remembered(clock, view(clock))
    assert b"question" not in found.of("b")
    clock.now += SECONDS
    assert b"question" in found.of("a")
    clock.now += 0.01
    assert b"question" not in found.of("a")


def test_any_denial_forgets_everything() -> None:
    clock = Clock()
    seen = view(clock)
    found = remembered(clock, seen)
    seen.apply(denial(1))
    assert not found.of("a")


def test_a_denial_that_comes_early_forgets_too() -> None:
    clock = Clock()
    seen = view(clock)
    found = remembered(clock, seen)
    seen.apply(denial(2))
    assert not found.of("a")
    found.add("a", b"question", found.stand, 60.0)
    assert not found.of("a")


def test_a_view_that_is_too_old_remembers_nothing() -> None:
    clock = Clock()
    seen = view(clock)
    seen.max_staleness = 0.5
    found = remembered(clock, seen)
    clock.now += 0.6
    assert not found.of("a")


def test_what_was_judged_before_a_denial_is_not_remembered_after_it() -> None:
    clock = Clock()
    seen = view(clock)
    found = Remembered(seen, clock)
    found.of("a")
    stand = found.stand
    seen.apply(denial(1))
    found.of("a")
    found.add("a", b"question", stand, 60.0)
    assert not found.of("a")


def test_a_token_that_is_about_to_end_is_not_remembered() -> None:
    clock = Clock()
    found = Remembered(view(clock), clock)
    found.of("a")
    found.add("a", b"question", found.stand, SECONDS)
    assert not found.of("a")


@given(st.lists(ASKED, max_size=5))
def test_a_batch_is_taken_apart_as_it_is_parsed(asked: list[pb.ValidateRequest]) -> None:
    batch = pb.ValidateBatchRequest(requests=asked).SerializeToString()
    found = questions_in(batch)
    assert found is not None
    assert [pb.ValidateRequest.FromString(one) for one in found] == asked


@given(st.binary(max_size=200), st.lists(ASKED, max_size=2))
def test_whatever_comes_it_means_what_the_parser_says_or_is_left_to_it(
    raw: bytes, asked: list[pb.ValidateRequest]
) -> None:
    mixed = pb.ValidateBatchRequest(requests=asked).SerializeToString() + raw
    found = questions_in(mixed)
    if found is None:
        return
    try:
        parsed = [pb.ValidateRequest.FromString(one) for one in found]
    except DecodeError:
        with pytest.raises(DecodeError):
            pb.ValidateBatchRequest.FromString(mixed)
    else:
        assert list(pb.ValidateBatchRequest.FromString(mixed).requests) == parsed


@given(st.lists(ASKED, min_size=1, max_size=3), st.data())
def test_a_batch_that_is_cut_off_is_not_taken_apart(asked: list[pb.ValidateRequest], data: st.DataObject) -> None:
    batch = pb.ValidateBatchRequest(requests=asked).SerializeToString()
    cut = data.draw(st.integers(0, len(batch) - 1))
    found = questions_in(batch[:cut])
    if found is not None:
        assert found == (questions_in(batch) or [])[: len(found)]
