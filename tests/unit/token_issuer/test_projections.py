"""What the issuer's tables learn of others, and which denials stop a grant."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

import pytest

from services.identity import events as identity
from services.registry import events as registry
from services.token_issuer.subscriptions import APPLICATIONS, DENIALS, SECRETS, SESSIONS, USERS, project
from services.token_issuer.views import Session, Standing, denied
from shared.denials import DenialKind, DenialRule
from shared.log.event import Delete, Event, Patch, Put, Recorded, RowChange
from tests.unit.token_issuer.test_tokens import GRANT
from tests.unit.token_issuer.world import HUB, NOW, later, settings, user


def rows(event: Event, position: int = 9) -> list[RowChange]:
    recorded = Recorded(event, "stream-1", 1, position, 1, NOW, "service:test", UUID(int=1), "c")
    return list(project(recorded))


def test_an_application_and_its_kill_switch() -> None:
    (put,) = rows(registry.ApplicationRegistered(client_id=HUB, settings=settings()))
    assert isinstance(put, Put)
    assert (put.table, put.row["enabled"], put.row["scopes"]) == (APPLICATIONS, True, ["read", "update"])
    patch, denial = rows(registry.ApplicationDisabled(client_id=HUB, reason=""))
    assert patch == Patch(APPLICATIONS, {"client_id": HUB}, {"enabled": False, "position": 9})
    assert denial == Put(DENIALS, {"kind": "client", "id": HUB, "rule": "standing", "except_id": "", "position": 9})
    patch, lifted = rows(registry.ApplicationEnabled(client_id=HUB))
    assert lifted == Delete(DENIALS, {"kind": "client", "id": HUB, "rule": "standing"})


def test_an_uninstalled_application_has_no_secrets() -> None:
    changes = rows(registry.ApplicationUninstalled(client_id=HUB))
    assert Delete(SECRETS, {"client_id": HUB}) in changes


def test_a_secret_lives_until_it_is_revoked() -> None:
    (put,) = rows(registry.SecretAdded(client_id=HUB, secret_id="1", secret_digest="d"))
    assert isinstance(put, Put)
    assert put.row["digest"] == "d"
    gone = Delete(SECRETS, {"client_id": HUB, "secret_id": "1"})
    assert gone in rows(registry.SecretRevoked(client_id=HUB, secret_id="1"))
    assert gone in rows(registry.SecretReportedCompromised(client_id=HUB, secret_id="1"))


def test_a_password_cuts_off_the_sessions_of_before() -> None:
    patch, _ = rows(identity.PasswordChanged(sub="freddie", kept_session="s"))
    assert patch == Patch(USERS, {"sub": "freddie"}, {"sessions_cut_off": 9, "kept_session": "s", "position": 9})
    patch, denial = rows(identity.PasswordReset(sub="freddie"))
    assert patch == Patch(USERS, {"sub": "freddie"}, {"sessions_cut_off": 9, "kept_session": None, "position": 9})
    assert isinstance(denial, Put)
    assert denial.row["rule"] == "cut_off"


def test_of_a_user_who_was_erased_there_is_the_denial() -> None:
    gone, denial = rows(identity.UserErased(sub="freddie"))
    assert gone == Delete(USERS, {"sub": "freddie"})
    assert denial == Put(
        DENIALS, {"kind": "subject", "id": "freddie", "rule": "standing", "except_id": "", "position": 9}
    )


def test_a_session_ends() -> None:
    ended = identity.SessionEnded(
        sub="freddie", sid="s", reason=identity.SessionEndReason.SIGNED_OUT, tokens_end_at=NOW
    )
    patch, _ = rows(ended)
    assert patch == Patch(SESSIONS, {"sid": "s"}, {"ended": True})


SESSION = Session("s", "freddie", 5, ended=False, expires_at=later(days=7))


@pytest.mark.parametrize(
    ("session", "cut_off", "kept", "now", "goes_on"),
    [
        (SESSION, 0, None, NOW, True),
        (replace(SESSION, ended=True), 0, None, NOW, False),
        (SESSION, 5, None, NOW, False),
        (SESSION, 5, "s", NOW, True),
        (SESSION, 5, "other", NOW, False),
        (replace(SESSION, position=6), 5, None, NOW, True),
        (SESSION, 0, None, later(days=7), False),
        (replace(SESSION, sub="brian"), 0, None, NOW, False),
    ],
)
def test_whether_a_session_goes_on(
    session: Session, cut_off: int, kept: str | None, now: datetime, *, goes_on: bool
) -> None:
    whose = replace(user(), sessions_cut_off=cut_off, kept_session=kept)
    assert session.open(whose, now) is goes_on


STANDING, CUT_OFF = DenialRule.STANDING, DenialRule.CUT_OFF


@pytest.mark.parametrize(
    ("denial", "stops"),
    [
        (Standing(DenialKind.CLIENT, HUB, STANDING, 1), True),
        (Standing(DenialKind.CLIENT, HUB, CUT_OFF, 9), False),
        (Standing(DenialKind.CLIENT, HUB, CUT_OFF, 10), True),
        (Standing(DenialKind.CLIENT, HUB, CUT_OFF, 11), True),
        (Standing(DenialKind.CLIENT, "com.mallory/app", STANDING, 11), False),
        (Standing(DenialKind.SUBJECT, "freddie", STANDING, 1), True),
        (Standing(DenialKind.SUBJECT, "s", STANDING, 1), False),
        (Standing(DenialKind.SESSION, "s", STANDING, 1), True),
        (Standing(DenialKind.SUBJECT_SESSIONS, "freddie", CUT_OFF, 11, ""), True),
        (Standing(DenialKind.SUBJECT_SESSIONS, "freddie", CUT_OFF, 11, "s"), False),
        (Standing(DenialKind.SUBJECT_SESSIONS, "freddie", CUT_OFF, 11, "other"), True),
        (Standing(DenialKind.SUBJECT_CLIENT, f"freddie {HUB}", CUT_OFF, 11), True),
        (Standing(DenialKind.SUBJECT_CLIENT, "freddie com.mallory/app", CUT_OFF, 11), False),
    ],
)
def test_which_denials_stop_a_grant(denial: Standing, *, stops: bool) -> None:
    assert denied(GRANT, 10, [denial]) is stops
