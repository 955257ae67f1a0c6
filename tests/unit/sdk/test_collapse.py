"""Above a bound a kind of denials becomes coarser: too much is denied then, and never too little."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.clock import since_boot
from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot
from stagedoor.marks import _MOST_SPARED
from stagedoor.token import AccessToken, Said
from stagedoor.verdict import Denied, Reason
from tests.support.reference_tokens import Desk
from tests.support.sdk_tokens import SigningKey, guard

_PUBLIC = SigningKey().public
_UNTIL = datetime.now(UTC) + timedelta(hours=1)
_STRANGERS = (DenialKind.TOKEN, DenialKind.GRANT, DenialKind.SESSION)


def denial(number: int, kind: DenialKind, name: str | None = None, **changes: object) -> Denial:
    """One at a position of ten times its number."""
    whole = {"rule": DenialRule.STANDING, "until": _UNTIL, **changes}
    return Denial(number=number, position=10 * number, epoch=1, kind=kind, id=name or f"x{number}", **whole)  # type: ignore[arg-type]


def token(pos: int, **changes: object) -> AccessToken:
    whole = {"sub": "s", "client_id": "c", "jti": "j", "gid": "g", "sid": "d", **changes}
    said = Said(iss="", aud=(), scope="", iat=0, exp=0, pos=pos, epoch=1, **whole)  # type: ignore[arg-type]
    return AccessToken(
        key=_PUBLIC, said=said, payload=b"", clients=(said.client_id,), chain=(said.client_id,), scopes=frozenset()
    )


def empty(most: int) -> DenialView:
    view = DenialView(most=most)
    view.replace(Snapshot(position=1, number=0, epoch=1, denials=()))
    return view


@pytest.mark.parametrize("kind", _STRANGERS)
def test_a_flood_keeps_within_the_bound_and_what_it_denied_stays_denied(kind: DenialKind) -> None:
    view, field = empty(100), {"token": "jti", "grant": "gid", "session": "sid"}[kind]
    for number in range(1, 1001):
        view.apply(denial(number, kind))
        assert len(view) <= 101
    for number in range(1, 1001):
        assert view.denied(token(10 * number - 1, **{field: f"x{number}"})) is not None
    # What was issued after the older half is judged as finely as ever.
    assert view.denied(token(10 * 1000 - 1)) is None
    assert 0 < view._tables.floor < 10 * 951


@pytest.mark.parametrize("kind", [*_STRANGERS, DenialKind.SUBJECT_SESSIONS, DenialKind.SUBJECT_CLIENT])
def test_ids_of_what_has_gone_are_forgotten_too(kind: DenialKind) -> None:
    view = empty(100)
    for number in range(1, 1001):
        view.apply(denial(number, kind, rule=DenialRule.CUT_OFF))
        assert len(view._tables.named) <= len(view) + 60
    view.apply(denial(1001, DenialKind.CLIENT, "c", until=_UNTIL + timedelta(hours=1)))
    view.prune((_UNTIL + timedelta(minutes=1)).timestamp(), skew=0)
    assert view._tables.named == {"c"}
    assert view.denied(token(5)) is Reason.DENIED_CLIENT


def test_sessions_that_collapsed_spare_tokens_without_a_session() -> None:
    view = empty(10)
    for number in range(1, 40):
        view.apply(denial(number, DenialKind.SESSION))
    assert view.denied(token(5)) is Reason.DENIED_SESSION
    assert view.denied(token(5, sid=None)) is None


def test_what_stands_against_people_and_applications_never_collapses() -> None:
    view = empty(10)
    for number in range(1, 101):
        view.apply(denial(number, DenialKind.CLIENT if number % 2 else DenialKind.SUBJECT))
    assert (len(view), view._tables.floor) == (100, 0)


def test_cut_offs_of_people_do_and_what_stands_stays() -> None:
    view = empty(20)
    view.apply(denial(1, DenialKind.SUBJECT, "disabled"))
    for number in range(2, 200):
        view.apply(denial(number, DenialKind.SUBJECT, rule=DenialRule.CUT_OFF))
    assert len(view) <= 21
    assert view.denied(token(10_000, sub="disabled")) is Reason.DENIED_SUBJECT
    assert view.denied(token(5, sub="x3")) is Reason.DENIED_SUBJECT


def test_a_person_who_changes_the_password_in_loops_costs_one_mark() -> None:
    view = empty(1000)
    for number in range(1, 500):
        view.apply(
            denial(number, DenialKind.SUBJECT_SESSIONS, "s", rule=DenialRule.CUT_OFF, except_id=f"session-{number}")
        )
    assert len(view) <= _MOST_SPARED
    assert view.denied(token(10 * 499, sid="another")) is Reason.DENIED_SESSION
    assert view.denied(token(10 * 499 + 1, sid="another")) is None


def test_many_who_change_it_are_bounded_too() -> None:
    view = empty(10)
    for number in range(1, 100):
        view.apply(denial(number, DenialKind.SUBJECT_SESSIONS, rule=DenialRule.CUT_OFF, except_id="d"))
    assert len(view) <= 11
    assert view.denied(token(5)) is Reason.DENIED_SESSION
    assert view.denied(token(985)) is None


def test_a_floor_goes_when_nothing_below_it_lives() -> None:
    view = empty(10)
    for number in range(1, 40):
        view.apply(denial(number, DenialKind.TOKEN))
    assert view.denied(token(5)) is Reason.DENIED_TOKEN
    view.prune((_UNTIL + timedelta(minutes=1)).timestamp())
    assert (len(view), view._tables.floor) == (0, 0)
    assert view.denied(token(5)) is None


async def test_a_reference_token_is_asked_about_anew_instead() -> None:
    desk = Desk()
    checked = guard(SigningKey(), online=desk, most_denials=10)
    good, bad = desk.issue(jti="good"), desk.issue(jti="x3")
    for each in (good, bad):
        assert not isinstance(await checked.validate(each), Denied)
    for number in range(1, 40):
        checked.view.apply(denial(number, DenialKind.TOKEN))
    checked.view.vouch(1000, 39, 1, since_boot())
    desk.refused[bad] = "denied_token"
    assert not isinstance(await checked.validate(good), Denied)
    refused = await checked.validate(bad)
    assert isinstance(refused, Denied)
    assert refused.reason is Reason.DENIED_TOKEN
    assert len(desk.asked) == 4


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(_STRANGERS), st.integers(1, 30)), max_size=120),
    st.integers(2, 12),
    st.integers(1, 30),
    st.integers(1, 1300),
)
def test_whatever_the_unbounded_view_denies_the_bounded_one_denies(
    said: list[tuple[DenialKind, int]], most: int, name: int, pos: int
) -> None:
    """Of tokens that the log could have issued: none after the end of what it belongs to."""
    fine, coarse = empty(10_000), empty(most)
    for number, (kind, which) in enumerate(said, start=1):
        for view in (fine, coarse):
            view.apply(denial(number, kind, f"n{which}"))
    ends = [10 * number for number, (_, which) in enumerate(said, start=1) if which == name]
    presented = token(min([pos, *ends]), jti=f"n{name}", gid=f"n{name}", sid=f"n{name}")
    if fine.denied(presented) is not None:
        assert coarse.denied(presented) is not None
    assert len(coarse) <= 3 * (most + 1)
