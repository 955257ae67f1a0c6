from datetime import UTC, datetime, timedelta

import pytest

from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot, snapshot_of


def denial(number: int, name: str = "a", rule: DenialRule = DenialRule.STANDING, epoch: int = 1) -> Denial:
    return Denial(number=number, position=number * 10, epoch=epoch, kind=DenialKind.CLIENT, id=name, rule=rule)


def snapshot(number: int, *denials: Denial, epoch: int = 1, position: int | None = None) -> Snapshot:
    return Snapshot(position=number * 10 if position is None else position, number=number, epoch=epoch, denials=denials)


def test_a_denial_completes_the_view_up_to_just_before_it() -> None:
    view = DenialView()
    view.replace(snapshot(0, position=3))
    assert view.apply(denial(1))
    assert (view.number, view.position) == (1, 9)


def test_a_gap_shows_and_the_missing_one_closes_it() -> None:
    view = DenialView()
    view.replace(snapshot(0))
    assert not view.apply(denial(2))
    assert view.incomplete
    assert view.number == 0
    assert view.apply(denial(1))
    assert not view.incomplete
    assert view.number == 2


def test_a_voucher_for_more_than_is_there_counts_when_it_is_there() -> None:
    view = DenialView()
    view.replace(snapshot(0), sent_at=100.0)
    assert not view.vouch(50, 1, 1, 120.0)
    assert (view.position, view.age(120.0)) == (0, 20.0)
    assert view.apply(denial(1))
    assert (view.position, view.age(120.0)) == (50, 0.0)


def test_an_older_snapshot_changes_nothing() -> None:
    view = DenialView()
    view.replace(snapshot(2, denial(1), denial(2, "b")))
    view.replace(snapshot(1, denial(1)))
    assert view.number == 2
    assert len(view) == 2


def test_denials_that_came_before_the_snapshot_was_answered_are_kept() -> None:
    view = DenialView()
    assert not view.apply(denial(1))
    assert not view.apply(denial(2, "b"))
    view.replace(snapshot(1, denial(1)))
    assert (view.number, len(view)) == (2, 2)


def test_an_earlier_epoch_has_nothing_more_to_say() -> None:
    view = DenialView()
    view.replace(snapshot(5, epoch=2))
    assert view.apply(denial(6, epoch=1))
    assert view.vouch(1000, 0, 1, 5.0)
    assert (view.number, view.position, len(view)) == (5, 50, 0)


def test_a_later_epoch_needs_a_snapshot_and_begins_anew() -> None:
    view = DenialView()
    view.replace(snapshot(5, *map(denial, range(1, 6))), sent_at=10.0)
    assert not view.vouch(20, 2, 2, 11.0)
    assert view.incomplete
    view.replace(snapshot(2, position=20, epoch=2), sent_at=12.0)
    assert not view.incomplete
    assert (view.epoch, view.number, view.position, len(view)) == (2, 2, 20, 0)


@pytest.mark.parametrize("by", ["voucher", "denial"])
def test_who_hears_of_a_later_epoch_judges_nothing_by_the_one_before(by: str) -> None:
    view = DenialView(max_staleness=30.0)
    view.replace(snapshot(5, *map(denial, range(1, 6))), sent_at=10.0)
    assert view.fresh(11.0)
    stamp = view.stamp
    assert not (view.vouch(20, 2, 2, 11.0) if by == "voucher" else view.apply(denial(2, epoch=2)))
    assert not view.fresh(11.0)
    assert view.stamp != stamp, "what was judged before is judged anew"
    # Whatever is still on its way from before does not help it.
    view.vouch(60, 5, 1, 11.5)
    view.replace(snapshot(6, *map(denial, range(1, 7))), sent_at=11.5)
    assert not view.fresh(11.5)
    view.replace(snapshot(2, position=20, epoch=2), sent_at=12.0)
    assert view.fresh(12.0)


def test_what_can_match_no_live_token_is_forgotten() -> None:
    now = datetime.now(UTC)
    view = DenialView()
    until = Denial(number=1, position=1, epoch=1, kind=DenialKind.TOKEN, id="t", rule=DenialRule.STANDING, until=now)
    sessions = Denial(
        number=2,
        position=2,
        epoch=1,
        kind=DenialKind.SUBJECT_SESSIONS,
        id="s",
        rule=DenialRule.CUT_OFF,
        except_id="one",
        until=now,
    )
    view.replace(snapshot(3, until, sessions, denial(3)))
    assert view.prune(now.timestamp() + 9) == 0
    assert view.prune((now + timedelta(seconds=11)).timestamp()) == 2
    assert len(view) == 1


def test_pages_of_different_moments_make_no_snapshot() -> None:
    first, second = snapshot(2, denial(1)), snapshot(2, denial(2))
    whole = snapshot_of([first, second])
    assert whole is not None
    assert [each.number for each in whole.denials] == [1, 2]
    assert snapshot_of([first, snapshot(3, denial(2))]) is None


async def test_waiting_for_a_position_is_bounded() -> None:
    view = DenialView()
    view.replace(snapshot(0, position=5))
    assert await view.reach(5, 0.0)
    assert not await view.reach(6, 0.01)
    assert view._waiting == []


def test_an_early_denial_outlasts_the_lifting_of_one_before_it() -> None:
    view = DenialView()
    view.replace(snapshot(0))
    view.apply(denial(4))
    view.apply(denial(1))
    view.apply(denial(2, rule=DenialRule.LIFTED))
    assert view.number == 2
    assert view._tables.clients["a"].denies(1)


def test_an_early_cut_off_is_not_drawn_back_by_one_before_it() -> None:
    view = DenialView()
    view.replace(snapshot(0))
    view.apply(denial(3, rule=DenialRule.CUT_OFF))
    view.apply(denial(1, rule=DenialRule.CUT_OFF))
    assert view._tables.clients["a"].denies(30)
    assert not view._tables.clients["a"].denies(31)


def test_an_answer_with_less_than_was_known_when_it_was_asked_for_proves_nothing() -> None:
    view = DenialView()
    view.replace(snapshot(0, position=50), sent_at=10.0)
    assert view.vouch(49, 0, 1, 20.0, known=50)
    assert view.age(20.0) == 10.0
    assert view.vouch(49, 0, 1, 21.0, known=40)  # the view came further while the answer was on its way
    assert view.age(21.0) == 0.0
    assert view.position == 50


def test_what_was_known_of_another_epoch_is_no_measure_of_an_answer() -> None:
    """A lost tail's positions were greater: who began anew meanwhile would believe no answer until they are reached."""
    view = DenialView()
    view.replace(snapshot(0, position=50), sent_at=10.0)
    view.replace(snapshot(0, position=40, epoch=2))
    assert view.vouch(40, 0, 2, 20.0, known=50)
    assert view.age(20.0) == 0.0
    assert view.vouch(39, 0, 2, 30.0, known=50)
    assert view.age(30.0) == 10.0


def test_an_epoch_in_the_middle_cuts_those_before_it_off() -> None:
    view = DenialView()
    view.replace(
        Snapshot(position=90, number=0, epoch=4, denials=(), epochs=((1, 1), (2, 30), (3, 20), (4, 60))), sent_at=1.0
    )
    assert not view.lost(1, 19)
    assert view.lost(1, 20)  # epoch 3 began again before where epoch 2 had come to
    assert view.lost(2, 30)
    assert not view.lost(3, 59)
    assert view.lost(3, 60)
    assert not view.lost(4, 1000)
    assert view.lost(0, 1)  # of an epoch that never was
