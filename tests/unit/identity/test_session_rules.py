from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.identity.domain.session import (
    SESSION,
    EndSession,
    Reauthenticate,
    StartSession,
    StepUp,
    may_change_factors,
    passkey_methods,
)
from services.identity.events import (
    SessionEnded,
    SessionEndReason,
    SessionReauthenticated,
    SessionStarted,
    SessionSteppedUp,
    UserKind,
)
from shared.log.event import Personal
from tests.support.decider import given

NOW = datetime(1985, 7, 13, 18, 41, tzinfo=UTC)
START = StartSession(
    sid="sid",
    sub="sub",
    kind=UserKind.INTERNAL,
    enabled=True,
    secret_digest="d1",
    auth_time=NOW,
    amr=("pwd",),
    expires_at=NOW + timedelta(days=7),
    address=None,
    user_agent=None,
)
STARTED = SessionStarted(
    sub="sub", sid="sid", secret_digest="d1", auth_time=NOW, amr=("pwd",), expires_at=NOW + timedelta(days=7)
)
END = EndSession(SessionEndReason.SIGNED_OUT, NOW + timedelta(days=1))
ENDED = SessionEnded(sub="sub", sid="sid", reason=SessionEndReason.SIGNED_OUT, tokens_end_at=NOW + timedelta(days=1))
AGAIN = Reauthenticate("sub", enabled=True, secret_digest="d2", auth_time=NOW, amr=("pwd",))


def test_a_session_starts() -> None:
    given(SESSION).when(START).then(STARTED).when(START).refused("session_exists")


def test_community_users_sign_in() -> None:
    given(SESSION).when(replace(START, kind=UserKind.COMMUNITY)).then(STARTED)


def test_where_it_comes_from_is_personal() -> None:
    (event,) = given(SESSION).when(replace(START, address="192.0.2.1", user_agent="Browser")).events
    assert isinstance(event, SessionStarted)
    assert event.address == Personal("192.0.2.1")
    assert "192.0.2.1" not in event.to_json(bytes(32))


@pytest.mark.parametrize("change", [{"kind": UserKind.SERVICE}, {"enabled": False}])
def test_who_may_not_sign_in(change: dict[str, object]) -> None:
    given(SESSION).when(replace(START, **change)).refused("not_signed_in")  # type: ignore[arg-type]


def test_signing_in_again_replaces_the_secret() -> None:
    given(SESSION, STARTED).when(AGAIN).then(
        SessionReauthenticated(sub="sub", sid="sid", secret_digest="d2", auth_time=NOW, amr=("pwd",))
    )


def test_only_the_same_user_goes_on_with_a_session() -> None:
    given(SESSION, STARTED).when(replace(AGAIN, sub="brian")).refused("session_over")
    given(SESSION, STARTED).when(replace(AGAIN, enabled=False)).refused("not_signed_in")


def test_a_session_ends_once_and_stays_so() -> None:
    ended = given(SESSION, STARTED).when(END).then(ENDED)
    ended.when(END).then_nothing()
    ended.when(AGAIN).refused("session_over")
    given(SESSION).when(END).refused("unknown_session")


UP = StepUp("sub", enabled=True, secret_digest="d2", amr=("pwd", "otp", "mfa"), with_recovery_code=False)


def test_stepping_up_replaces_the_secret_and_says_nothing_of_when_they_signed_in() -> None:
    given(SESSION, STARTED).when(UP).then(
        SessionSteppedUp(sub="sub", sid="sid", secret_digest="d2", amr=("pwd", "otp", "mfa"))
    )


@pytest.mark.parametrize(
    ("before", "command", "code"),
    [
        ((), UP, "session_over"),
        ((STARTED, ENDED), UP, "session_over"),
        ((STARTED,), replace(UP, sub="other"), "session_over"),
        ((STARTED,), replace(UP, enabled=False), "not_signed_in"),
    ],
)
def test_who_does_not_step_up(before: tuple[SessionStarted | SessionEnded, ...], command: StepUp, code: str) -> None:
    given(SESSION, *before).when(command).refused(code)


@pytest.mark.parametrize(
    ("minutes", "amr", "has_second_factor", "may"),
    [
        (0, ("pwd",), False, True),
        (10, ("pwd",), False, True),
        (11, ("pwd",), False, False),
        (0, ("pwd",), True, False),
        (0, ("pwd", "otp", "mfa"), True, True),
        (0, ("hwk", "user", "mfa"), True, True),
        (11, ("hwk", "user", "mfa"), True, False),
    ],
)
def test_who_may_change_what_signs_in(minutes: int, amr: tuple[str, ...], has_second_factor: bool, may: bool) -> None:
    now = NOW + timedelta(minutes=minutes)
    assert may_change_factors(NOW, amr, now, has_second_factor=has_second_factor) is may


def test_a_passkey_is_two_factors() -> None:
    assert passkey_methods(backup_eligible=False) == ("hwk", "user", "mfa")
    assert passkey_methods(backup_eligible=True) == ("swk", "user", "mfa")
