"""Which facts end sessions: told from what they deny."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from services.identity import events as identity
from services.token_issuer.backchannel.causes import LOGOUTS, project
from shared.denials import Denial, DenialKind, DenialRule
from shared.log.event import Event, Put

MOMENT = datetime(1986, 7, 12, tzinfo=UTC)
SUB, SID = "sub-freddie", "sid-1"


@dataclass
class Fact:
    """As much of a recorded event as is looked at."""

    event: Any
    position: int = 17


class UserErasedSomeDay(identity.UserDisabled, stored_as="identity.UserErasedSomeDay"):
    """A fact that nobody has thought of yet."""

    def denies(self) -> tuple[Denial, ...]:
        return (Denial(DenialKind.SUBJECT, self.sub, DenialRule.STANDING),)


def row(**values: str | None) -> Put:
    return Put(LOGOUTS, {"position": 17, "sub": SUB, **values})


ENDED = identity.SessionEnded(
    sub=SUB, sid=SID, reason=identity.SessionEndReason.ENDED_BY_ADMINISTRATOR, tokens_end_at=MOMENT
)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (ENDED, row(sid=SID, kept_sid=None)),
        (identity.PasswordChanged(sub=SUB, kept_session=SID), row(sid=None, kept_sid=SID)),
        (identity.PasswordChanged(sub=SUB, kept_session=None), row(sid=None, kept_sid=None)),
        (identity.PasswordReset(sub=SUB), row(sid=None, kept_sid=None)),
        (identity.UserDisabled(sub=SUB, reason=""), row(sid=None, kept_sid=None)),
        (UserErasedSomeDay(sub=SUB, reason=""), row(sid=None, kept_sid=None)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_these_do(event: Event, expected: Put) -> None:
    assert list(project(Fact(event))) == [expected]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "event",
    [
        identity.UserEnabled(sub=SUB),
        identity.PasswordSet(sub=SUB),
        identity.RolesChanged(sub=SUB, roles=(), removed=(identity.Role.ADMINISTRATOR,)),
        identity.ConsentWithdrawn(sub=SUB, client_id="com.backstagehub/app"),
        identity.SessionReauthenticated(sub=SUB, sid=SID, secret_digest="", auth_time=MOMENT, amr=("pwd",)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_these_do_not(event: Event) -> None:
    assert list(project(Fact(event))) == []  # type: ignore[arg-type]
