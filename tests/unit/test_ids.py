import time

import pytest

from shared import ids


def test_an_ordered_id_sorts_by_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [1_700_000_000_000, 1_700_000_000_001, 1_700_000_065_000, 1_800_000_000_000, 4_000_000_000_000]
    made = []
    for moment in moments:
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment * 1_000_000)
        made += [min(ids.new_ordered_id() for _ in range(50)), max(ids.new_ordered_id() for _ in range(50))]
    assert made == sorted(made)


def test_no_id_looks_like_an_option() -> None:
    made = [ids.new_id() for _ in range(20_000)]
    assert len(set(made)) == len(made)
    assert {len(one) for one in made} == {22}
    assert len({one[0] for one in made}) == 63
    assert not any(one.startswith("-") for one in made)
    assert ids.id_of(b"\xf8" + bytes(15)) == "_AAAAAAAAAAAAAAAAAAAAA"


def test_ordered_ids_are_different_and_never_look_like_an_option() -> None:
    made = [ids.new_ordered_id() for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert {len(one) for one in made} == {22}
    assert {one[0] for one in made} == {"A"}
    # 80 bits behind the time: each of the last characters takes every value.
    assert all(len({one[place] for one in made}) == 64 for place in range(9, 21))
