"""Refresh tokens that do not rotate (FAPI 2.0 Security Profile section 5.3.2.1, item 9): each use is a fact, none is
reuse."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.token_issuer.domain.binding import Key
from services.token_issuer.domain.grant import SLACK, End, Grant, decider
from services.token_issuer.events import GrantEnded, GrantEndReason, RefreshTokenRotated, RefreshTokenUsed
from shared.ids import digest
from tests.support.decider import Given
from tests.unit.token_issuer.test_grant import REFRESH, redeemed, rotated
from tests.unit.token_issuer.world import API, later

USE = replace(REFRESH, rotates=False, key=Key("own", binds_refresh=False))


def used(**changes: Any) -> RefreshTokenUsed:
    said: dict[str, Any] = {
        "gid": "g",
        "jti": "j2",
        "scopes": ("read", "offline_access"),
        "audiences": (API,),
        "access_token_seconds": 3600,
        "tokens_end_at": later(hours=2) + SLACK,
        "jkt": "own",
    }
    return RefreshTokenUsed(**{**said, **changes})


def once() -> Given[Any, Any]:
    return redeemed().when(USE).then(used())


def test_it_stays_the_current_one() -> None:
    before, after = redeemed().state, once().state
    assert isinstance(before, Grant)
    assert isinstance(after, Grant)
    assert (after.refresh_digest, after.refresh_jkt) == (before.refresh_digest, before.refresh_jkt)
    assert (after.previous_digest, after.rotated_at) == (None, None)
    assert (after.jti, after.token_jkt, after.token_scopes) == ("j2", "own", ("read", "offline_access"))


@pytest.mark.parametrize("seconds", [0, 1, 9, 11, 3600, 86400])
def test_a_second_use_is_like_the_first_however_soon_or_late(seconds: int) -> None:
    at = USE.now + timedelta(seconds=seconds)
    again = replace(USE, jti="j3", now=at)
    end = max(later(hours=2) + SLACK, at + timedelta(hours=1) + SLACK)
    once().when(again).then(used(jti="j3", tokens_end_at=end))


def test_a_use_may_ask_for_less_and_then_for_all_again() -> None:
    less = once().when(replace(USE, jti="j3", scopes=("read",))).then(used(jti="j3", scopes=("read",)))
    less.when(replace(USE, jti="j4")).then(used(jti="j4"))


def test_with_another_key_the_access_token_is_bound_to_that() -> None:
    once().when(replace(USE, jti="j3", key=Key("other", binds_refresh=False))).then(used(jti="j3", jkt="other"))


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "com.mallory/app"},
        {"denied": True},
        {"now": later(days=30)},
        {"presented_digest": digest("guess")},
    ],
)
def test_it_is_refused_and_ends_nothing(changes: dict[str, Any]) -> None:
    once().when(replace(USE, **changes)).refused("invalid_grant")


def test_using_it_does_not_make_it_live_longer() -> None:
    state = once().state
    assert isinstance(state, Grant)
    before = redeemed().state
    assert isinstance(before, Grant)
    assert state.refresh_expires_at == before.refresh_expires_at


def test_after_the_end_of_the_grant_it_is_worth_nothing() -> None:
    end = End(GrantEndReason.REFRESH_TOKEN_REVOKED, later(hours=1, seconds=1))
    start = once()
    over = start.when(end).then(*decider.decide(end, start.state))
    state = over.state
    assert isinstance(state, Grant)
    assert state.ended is GrantEndReason.REFRESH_TOKEN_REVOKED
    over.when(replace(USE, jti="j3")).refused("invalid_grant")


def test_the_end_outlasts_every_token_that_was_given() -> None:
    (event,) = once().when(End(GrantEndReason.ENDED_BY_ADMINISTRATOR, later(hours=1, seconds=1))).events
    assert isinstance(event, GrantEnded)
    assert event.tokens_end_at == later(hours=2) + SLACK


def test_when_it_rotates_again_the_first_to_come_has_the_successor() -> None:
    """An administrator has taken the profile away."""
    start = once()
    (event,) = start.when(replace(REFRESH, jti="j3")).events
    assert isinstance(event, RefreshTokenRotated)
    turned = start.when(replace(REFRESH, jti="j3")).then(event)
    late = replace(REFRESH, jti="j4", now=REFRESH.now + timedelta(seconds=11))
    assert [type(one) for one in turned.when(late).events] == [GrantEnded]


@pytest.mark.parametrize("outdated", [False, True])
def test_one_that_was_exchanged_before_is_still_reuse(outdated: bool) -> None:
    shown = digest("r0") if outdated else digest("r1")
    late = replace(USE, presented_digest=shown, outdated=outdated, now=REFRESH.now + timedelta(seconds=11))
    assert [type(one) for one in rotated().when(late).events] == [GrantEnded]
