"""The rules of a grant: a code and each refresh token are good for one use, and a second one ends everything."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.token_issuer.domain.grant import SLACK, Command, End, Grant, Open, Redeem, Refresh, Refuse, State, decider
from services.token_issuer.events import (
    CodeRedeemed,
    DeviceAuthorizationRefused,
    GrantEnded,
    GrantEndReason,
    GrantOpened,
    RefreshTokenRotated,
)
from shared.ids import digest
from tests.support.decider import Given, given
from tests.unit.token_issuer.world import API, CALLBACK, HUB, NOW, later

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""RFC 7636 appendix B."""

OPEN = Open(
    gid="g",
    client_id=HUB,
    sub="freddie",
    sid="s",
    scopes=("read", "offline_access"),
    audiences=(API,),
    redirect_uri=CALLBACK,
    redirect_uri_given=True,
    code_digest=digest("code"),
    code_challenge=CHALLENGE,
    nonce=None,
    auth_time=NOW,
    amr=("pwd",),
    roles=(),
    now=NOW,
    code_lifetime=timedelta(seconds=60),
    refresh_lifetime=timedelta(days=30),
)
REDEEM = Redeem(
    client_id=HUB,
    code_digest=digest("code"),
    redirect_uri=CALLBACK,
    verifier=VERIFIER,
    by_device=False,
    denied=False,
    jti="j1",
    scopes=("read", "offline_access"),
    audiences=(API,),
    access_token_seconds=3600,
    refresh_digest=digest("r1"),
    now=later(seconds=5),
)
REFRESH = Refresh(
    client_id=HUB,
    presented_digest=digest("r1"),
    outdated=False,
    denied=False,
    jti="j2",
    scopes=("read", "offline_access"),
    audiences=(API,),
    access_token_seconds=3600,
    successor_digest=digest("r2"),
    grace=timedelta(seconds=10),
    now=later(hours=1),
)


History = Given[Command, State]


def opened(**changes: Any) -> History:
    return given(decider, *decider.decide(replace(OPEN, **changes), None))


def redeemed(**changes: Any) -> History:
    start = opened(**changes)
    return start.when(REDEEM).then(*decider.decide(REDEEM, start.state))


def rotated() -> History:
    start = redeemed()
    return start.when(REFRESH).then(*decider.decide(REFRESH, start.state))


def ended(reason: GrantEndReason, until: datetime) -> GrantEnded:
    return GrantEnded(gid="g", reason=reason, tokens_end_at=until)


TOKENS_END = REDEEM.now + timedelta(seconds=3600) + SLACK


def test_opening_hands_out_a_code_that_lives_for_a_minute() -> None:
    (event,) = decider.decide(OPEN, None)
    assert isinstance(event, GrantOpened)
    assert event.code_expires_at == later(seconds=60)
    assert event.refresh_expires_at == later(days=30)


def test_a_code_is_redeemed_by_who_has_everything() -> None:
    opened().when(REDEEM).then(
        CodeRedeemed(
            gid="g",
            jti="j1",
            scopes=("read", "offline_access"),
            audiences=(API,),
            access_token_seconds=3600,
            refresh_digest=digest("r1"),
            tokens_end_at=TOKENS_END,
        )
    )


def test_without_offline_access_there_is_no_refresh_token() -> None:
    (event,) = opened(refresh_lifetime=None).when(REDEEM).events
    assert isinstance(event, CodeRedeemed)
    assert event.refresh_digest is None


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"client_id": "com.mallory/app"}, "client"),
        ({"code_digest": digest("guess")}, "unknown"),
        ({"redirect_uri": None}, "redirect_uri"),
        ({"redirect_uri": CALLBACK + "/"}, "redirect_uri"),
        ({"verifier": None}, "code_verifier"),
        ({"verifier": VERIFIER[:-1] + "A"}, "code_verifier"),
        ({"verifier": CHALLENGE}, "code_verifier"),
        ({"verifier": ""}, "code_verifier"),
        ({"now": later(seconds=60)}, "expired"),
        ({"denied": True}, "ended"),
    ],
)
def test_without_one_of_the_proofs_a_code_is_refused_and_stays_good(changes: dict[str, Any], about: str) -> None:
    start = opened()
    start.when(replace(REDEEM, **changes)).refused("invalid_grant", about)
    assert isinstance(start.when(REDEEM).events[0], CodeRedeemed)


def test_a_verifier_for_a_request_without_a_challenge_is_a_downgrade() -> None:
    opened(code_challenge=None).when(REDEEM).refused("invalid_grant", "code_challenge")


def test_a_confidential_application_may_have_gone_without_pkce() -> None:
    start = opened(code_challenge=None)
    assert isinstance(start.when(replace(REDEEM, verifier=None)).events[0], CodeRedeemed)


def test_a_redirect_uri_that_was_left_out_may_be_left_out_again() -> None:
    start = opened(redirect_uri_given=False)
    assert isinstance(start.when(replace(REDEEM, redirect_uri=None)).events[0], CodeRedeemed)


DEVICE: dict[str, Any] = {"redirect_uri": "", "redirect_uri_given": False, "code_challenge": None}
BY_DEVICE = replace(REDEEM, redirect_uri=None, verifier=None, by_device=True)


def test_a_device_code_is_redeemed_with_nothing_beside_it() -> None:
    start = opened(**DEVICE)
    assert isinstance(start.when(BY_DEVICE).events[0], CodeRedeemed)
    start.when(replace(BY_DEVICE, now=later(seconds=60))).refused("expired_token")
    start.when(replace(BY_DEVICE, denied=True)).refused("invalid_grant", "ended")
    start.when(replace(BY_DEVICE, client_id="com.mallory/app")).refused("invalid_grant", "client")


def test_neither_kind_of_code_is_redeemed_as_the_other() -> None:
    opened(**DEVICE).when(replace(BY_DEVICE, by_device=False)).refused("invalid_grant", "unknown")
    opened(**DEVICE).when(replace(BY_DEVICE, by_device=False, redirect_uri="")).refused("invalid_grant", "unknown")
    opened().when(replace(REDEEM, by_device=True)).refused("invalid_grant", "unknown")


def test_what_a_device_asked_for_is_refused_as_long_as_it_was_not_allowed() -> None:
    refuse = Refuse(gid="g", client_id=HUB, sub="freddie", sid="s")
    refused = DeviceAuthorizationRefused(gid="g", client_id=HUB, sub="freddie", sid="s")
    assert given(decider).when(refuse).then(refused).state is None
    opened(**DEVICE).when(refuse).refused("user_code_unknown")


def test_a_device_code_that_is_used_twice_ends_the_grant_however_late() -> None:
    start = opened(**DEVICE)
    used = start.when(BY_DEVICE).then(*start.when(BY_DEVICE).events)
    again = replace(BY_DEVICE, jti="j9", now=later(hours=5))
    used.when(again).then(ended(GrantEndReason.CODE_REUSED, again.now))


def test_a_second_valid_redemption_ends_the_grant_however_late() -> None:
    again = replace(REDEEM, jti="j9", now=later(hours=5))
    redeemed().when(again).then(ended(GrantEndReason.CODE_REUSED, again.now))
    soon = replace(REDEEM, jti="j9", now=later(seconds=6))
    redeemed().when(soon).then(ended(GrantEndReason.CODE_REUSED, TOKENS_END))


@pytest.mark.parametrize(
    "changes", [{"client_id": "com.mallory/app"}, {"verifier": "x" * 43}, {"redirect_uri": "https://mallory.example"}]
)
def test_a_second_redemption_without_the_proofs_ends_nothing(changes: dict[str, Any]) -> None:
    redeemed().when(replace(REDEEM, **changes)).refused("invalid_grant")


def test_a_refresh_token_is_exchanged_for_its_successor() -> None:
    redeemed().when(REFRESH).then(
        RefreshTokenRotated(
            gid="g",
            jti="j2",
            presented_digest=digest("r1"),
            refresh_digest=digest("r2"),
            scopes=("read", "offline_access"),
            audiences=(API,),
            access_token_seconds=3600,
            rotated_at=later(hours=1),
            tokens_end_at=later(hours=2) + SLACK,
        )
    )


def test_a_retry_within_the_grace_writes_nothing() -> None:
    rotated().when(replace(REFRESH, jti="j3", now=later(hours=1, seconds=10))).then_nothing()


def test_a_retry_after_the_grace_ends_the_grant() -> None:
    late = replace(REFRESH, jti="j3", now=later(hours=1, seconds=11))
    rotated().when(late).then(ended(GrantEndReason.REFRESH_TOKEN_REUSED, later(hours=2) + SLACK))


def test_a_retry_after_the_successor_was_used_ends_the_grant() -> None:
    second = replace(
        REFRESH, presented_digest=digest("r2"), successor_digest=digest("r3"), jti="j3", now=later(hours=1, seconds=2)
    )
    start = rotated()
    twice = start.when(second).then(*decider.decide(second, start.state))
    oldest = replace(REFRESH, outdated=True, now=later(hours=1, seconds=3))
    events = twice.when(oldest).events
    assert [type(event) for event in events] == [GrantEnded]


def test_a_retry_cannot_ask_for_something_else() -> None:
    other = replace(REFRESH, jti="j3", scopes=("read",), now=later(hours=1, seconds=1))
    rotated().when(other).refused("invalid_grant", "another scope")


def test_somebody_who_makes_up_a_refresh_token_ends_nothing() -> None:
    rotated().when(replace(REFRESH, presented_digest=digest("guess"))).refused("invalid_grant")


@pytest.mark.parametrize(
    "changes",
    [{"client_id": "com.mallory/app"}, {"denied": True}, {"now": later(days=30)}],
)
def test_a_refresh_token_is_refused(changes: dict[str, Any]) -> None:
    redeemed().when(replace(REFRESH, **changes)).refused("invalid_grant")


def test_refreshing_does_not_make_it_live_longer() -> None:
    again = replace(REFRESH, presented_digest=digest("r2"), now=later(days=30))
    rotated().when(again).refused("invalid_grant")


def test_a_grant_without_refresh_token_cannot_be_refreshed() -> None:
    redeemed(refresh_lifetime=None).when(REFRESH).refused("invalid_grant")


def test_an_ended_grant_gives_nothing_and_ends_once() -> None:
    reason = GrantEndReason.ENDED_BY_ADMINISTRATOR
    over = redeemed().when(End(reason, later(minutes=1))).then(ended(reason, TOKENS_END))
    over.when(REFRESH).refused("invalid_grant")
    over.when(REDEEM).refused("invalid_grant")
    over.when(End(reason, later(minutes=2))).then_nothing()


def test_the_end_outlasts_a_longer_token_of_before() -> None:
    short = replace(REFRESH, access_token_seconds=60, now=later(minutes=1))
    start = redeemed()
    after = start.when(short).then(*decider.decide(short, start.state))
    (event,) = after.when(End(GrantEndReason.REFRESH_TOKEN_REVOKED, later(minutes=2))).events
    assert isinstance(event, GrantEnded)
    assert event.tokens_end_at == TOKENS_END


def test_what_was_never_opened() -> None:
    nothing = given(decider)
    nothing.when(REDEEM).refused("invalid_grant")
    nothing.when(REFRESH).refused("invalid_grant")
    nothing.when(End(GrantEndReason.ENDED_BY_ADMINISTRATOR, NOW)).refused("grant_not_found")


def test_the_state_after_a_rotation() -> None:
    state = rotated().state
    assert isinstance(state, Grant)
    assert (state.refresh_digest, state.previous_digest) == (digest("r2"), digest("r1"))
    assert (state.jti, state.token_scopes, state.redeemed) == ("j2", ("read", "offline_access"), True)
