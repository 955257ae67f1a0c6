"""The table of what each event denies, held against the declarations of the event classes."""

from datetime import UTC, datetime

import pytest

from infra.event_docs import CATALOGUE
from services.identity import events as identity
from services.registry import events as registry
from services.token_issuer import events as tokens
from shared.denials import Denial, DenialKind, DenialRule, initial_access_id, secrets_id, subject_client_id
from shared.log.event import Event, Personal

_MOMENT = datetime(1985, 7, 13, tzinfo=UTC)
_SETTINGS = registry.ApplicationSettings(
    display_name="BackstageHub",
    type=registry.ApplicationType.CONFIDENTIAL,
    auth_method=registry.AuthMethod.CLIENT_SECRET_BASIC,
)
_CLIENT = "com.backstagehub/app"

STANDING, CUT_OFF, LIFTED = DenialRule.STANDING, DenialRule.CUT_OFF, DenialRule.LIFTED

TABLE: list[tuple[Event, tuple[Denial, ...]]] = [
    (
        tokens.AccessTokenRevoked(jti="j", client_id=_CLIENT, token_ends_at=_MOMENT),
        (Denial(DenialKind.TOKEN, "j", STANDING, until=_MOMENT),),
    ),
    (
        tokens.GrantEnded(gid="g", reason=tokens.GrantEndReason.REFRESH_TOKEN_REUSED, tokens_end_at=_MOMENT),
        (Denial(DenialKind.GRANT, "g", STANDING, until=_MOMENT),),
    ),
    (
        identity.ConsentWithdrawn(sub="s", client_id=_CLIENT),
        (Denial(DenialKind.SUBJECT_CLIENT, subject_client_id("s", _CLIENT), CUT_OFF),),
    ),
    (
        identity.SessionEnded(sub="s", sid="i", reason=identity.SessionEndReason.SIGNED_OUT, tokens_end_at=_MOMENT),
        (Denial(DenialKind.SESSION, "i", STANDING, until=_MOMENT),),
    ),
    (
        identity.PasswordChanged(sub="s", kept_session="i"),
        (Denial(DenialKind.SUBJECT_SESSIONS, "s", CUT_OFF, except_id="i"),),
    ),
    (identity.PasswordReset(sub="s"), (Denial(DenialKind.SUBJECT, "s", CUT_OFF),)),
    (
        identity.SecondFactorAdded(sub="s", kind=identity.SecondFactorKind.TOTP, kept_session="i"),
        (Denial(DenialKind.SUBJECT_SESSIONS, "s", CUT_OFF, except_id="i"),),
    ),
    (
        identity.SecondFactorRemoved(
            sub="s", kind=identity.SecondFactorKind.TOTP, with_recovery_code=False, kept_session="i"
        ),
        (Denial(DenialKind.SUBJECT_SESSIONS, "s", CUT_OFF, except_id="i"),),
    ),
    (
        identity.PasskeyAdded(sub="s", passkey_id="p", name=Personal("A key"), backup_eligible=False, kept_session="i"),
        (Denial(DenialKind.SUBJECT_SESSIONS, "s", CUT_OFF, except_id="i"),),
    ),
    (
        identity.PasskeyRemoved(sub="s", passkey_id="p", kept_session="i"),
        (Denial(DenialKind.SUBJECT_SESSIONS, "s", CUT_OFF, except_id="i"),),
    ),
    (identity.SecondFactorReset(sub="s"), (Denial(DenialKind.SUBJECT, "s", CUT_OFF),)),
    (identity.UserDisabled(sub="s", reason="left"), (Denial(DenialKind.SUBJECT, "s", STANDING),)),
    (identity.UserErased(sub="s"), (Denial(DenialKind.SUBJECT, "s", STANDING),)),
    (identity.UserEnabled(sub="s"), (Denial(DenialKind.SUBJECT, "s", LIFTED),)),
    (
        identity.RolesChanged(sub="s", roles=(), removed=(identity.Role.ADMINISTRATOR,)),
        (Denial(DenialKind.SUBJECT, "s", CUT_OFF),),
    ),
    (identity.RolesChanged(sub="s", roles=(identity.Role.ADMINISTRATOR,), removed=()), ()),
    (registry.ApplicationDisabled(client_id=_CLIENT, reason="lost"), (Denial(DenialKind.CLIENT, _CLIENT, STANDING),)),
    (registry.ApplicationEnabled(client_id=_CLIENT), (Denial(DenialKind.CLIENT, _CLIENT, LIFTED),)),
    (registry.ApplicationUninstalled(client_id=_CLIENT), (Denial(DenialKind.CLIENT, _CLIENT, STANDING),)),
    (
        registry.ApplicationChanged(client_id=_CLIENT, settings=_SETTINGS, narrowed=True),
        (Denial(DenialKind.CLIENT, _CLIENT, CUT_OFF),),
    ),
    (registry.ApplicationChanged(client_id=_CLIENT, settings=_SETTINGS, narrowed=False), ()),
    (
        registry.SecretRevoked(client_id=_CLIENT, secret_id="1"),
        (Denial(DenialKind.CLIENT, secrets_id(_CLIENT), CUT_OFF),),
    ),
    (
        registry.SecretReportedCompromised(client_id=_CLIENT, secret_id="1"),
        (Denial(DenialKind.CLIENT, _CLIENT, CUT_OFF),),
    ),
    (
        registry.InitialAccessTokenRevoked(token_id="t"),
        (Denial(DenialKind.CLIENT, initial_access_id("t"), CUT_OFF),),
    ),
    (
        registry.ApplicationChanged(client_id=_CLIENT, settings=_SETTINGS, narrowed=False, references_narrowed=True),
        (Denial(DenialKind.CLIENT_REFERENCES, _CLIENT, CUT_OFF),),
    ),
    (
        registry.ApplicationChanged(client_id=_CLIENT, settings=_SETTINGS, narrowed=True, references_narrowed=True),
        (Denial(DenialKind.CLIENT, _CLIENT, CUT_OFF),),
    ),
    (
        tokens.ReferenceTokenRevoked(
            jti="j",
            client_id=_CLIENT,
            sub="s",
            reason=tokens.ReferenceEndReason.REPORTED_LEAKED,
            expires_at=_MOMENT,
        ),
        (Denial(DenialKind.TOKEN, "j", STANDING, until=_MOMENT),),
    ),
    (
        tokens.SigningKeyCreated(kid="k", algorithm="ES256", use=tokens.KeyUse.ACCESS_TOKEN, public_jwk={}),
        (Denial(DenialKind.KEY, "k", LIFTED),),
    ),
    (tokens.SigningKeyCompromised(kid="k"), (Denial(DenialKind.KEY, "k", STANDING),)),
]


@pytest.mark.parametrize(("event", "denials"), TABLE, ids=lambda value: type(value).__name__)
def test_an_event_denies_what_the_table_says(event: Event, denials: tuple[Denial, ...]) -> None:
    assert event.denies() == denials


@pytest.mark.parametrize(("event", "denials"), TABLE, ids=lambda value: type(value).__name__)
def test_an_event_denies_only_kinds_that_it_declares(event: Event, denials: tuple[Denial, ...]) -> None:
    assert {denial.kind for denial in denials} <= event.denial_kinds


def test_the_table_is_complete() -> None:
    declared = {event.stored_as for event in CATALOGUE if event.denial_kinds}
    assert declared == {event.stored_as for event, _ in TABLE}
