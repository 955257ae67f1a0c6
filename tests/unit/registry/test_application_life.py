"""The life of an application: changes, the kill switch, secrets, the end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.identity.events import UserKind
from services.registry.domain.application import (
    MOST_SECRETS,
    AddSecret,
    Change,
    Command,
    Disable,
    Enable,
    NewSecret,
    ReportSecretCompromised,
    RevokeSecret,
    Uninstall,
    decider,
)
from services.registry.events import (
    ApplicationChanged,
    ApplicationDisabled,
    ApplicationEnabled,
    ApplicationRegistered,
    ApplicationType,
    ApplicationUninstalled,
    AuthMethod,
    GrantType,
    SecretAdded,
    SecretReportedCompromised,
    SecretRevoked,
)
from shared.denials import Denial, DenialKind, DenialRule, secrets_id
from tests.support.decider import given
from tests.unit.registry.applications import HUB, KNOWN, confidential, native, public, registered

NOW = datetime(1986, 7, 12, 20, 0, tzinfo=UTC)
DISABLED = ApplicationDisabled(client_id=HUB, reason="leaked")
ENABLED = ApplicationEnabled(client_id=HUB)
GONE = ApplicationUninstalled(client_id=HUB)


def change(known: frozenset[str] = KNOWN, **changes: Any) -> Change:
    return Change(HUB, changes, known)


def secret(number: int, expires_at: datetime | None = None) -> NewSecret:
    return NewSecret(f"secret-{number}", f"{number:02d}" * 32, expires_at)


def added(new: NewSecret) -> SecretAdded:
    return SecretAdded(
        client_id=HUB, secret_id=new.secret_id, secret_digest=new.secret_digest, expires_at=new.expires_at
    )


EVERY_COMMAND: list[Command] = [
    change(display_name="Other"),
    Disable(HUB, ""),
    Enable(HUB),
    Uninstall(HUB),
    AddSecret(HUB, secret(2), NOW),
    RevokeSecret(HUB, "secret-1"),
    ReportSecretCompromised(HUB, "secret-1"),
]


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: type(command).__name__)
def test_nothing_can_be_done_to_an_application_that_nobody_registered(command: Command) -> None:
    given(decider).when(command).refused("application_not_found")


@pytest.mark.parametrize(
    "command", [c for c in EVERY_COMMAND if not isinstance(c, Uninstall)], ids=lambda command: type(command).__name__
)
def test_nothing_can_be_done_to_one_that_is_gone(command: Command) -> None:
    given(decider, *registered(), GONE).when(command).refused("application_not_found")


def test_the_kill_switch() -> None:
    disabled = given(decider, *registered()).when(Disable(HUB, "leaked")).then(DISABLED)
    disabled.when(Disable(HUB, "again")).then_nothing()
    enabled = disabled.when(Enable(HUB)).then(ENABLED)
    enabled.when(Enable(HUB)).then_nothing()
    assert DISABLED.denies() == (Denial(DenialKind.CLIENT, HUB, DenialRule.STANDING),)
    assert ENABLED.denies() == (Denial(DenialKind.CLIENT, HUB, DenialRule.LIFTED),)


@pytest.mark.parametrize("reason", ["x" * 201, "line\nbreak", "\u202eback"])
def test_a_reason_is_one_readable_line(reason: str) -> None:
    given(decider, *registered()).when(Disable(HUB, reason)).refused("invalid_client_metadata", "reason")


def test_uninstalling_is_for_ever_and_can_be_repeated() -> None:
    given(decider, *registered(), DISABLED).when(Uninstall(HUB)).then(GONE).when(Uninstall(HUB)).then_nothing()
    assert GONE.denies() == (Denial(DenialKind.CLIENT, HUB, DenialRule.STANDING),)


@pytest.mark.parametrize(
    ("changes", "less"),
    [
        ({"display_name": "Hub"}, False),
        ({"scopes": ("read",)}, True),
        ({"scopes": ("update", "read")}, False),
        ({"grants": (GrantType.AUTHORIZATION_CODE, GrantType.CLIENT_CREDENTIALS)}, True),
        ({"user_kinds": (UserKind.INTERNAL,)}, True),
        ({"user_kinds": (UserKind.INTERNAL, UserKind.COMMUNITY, UserKind.SERVICE)}, False),
        ({"redirect_uris": ("https://hub.example/callback",)}, False),
        ({"access_token_seconds": 300}, False),
    ],
)
def test_a_change_that_takes_something_away_ends_the_tokens_of_before(changes: dict[str, Any], *, less: bool) -> None:
    changed = ApplicationChanged(client_id=HUB, settings=confidential(**changes), narrowed=less)
    given(decider, *registered()).when(change(**changes)).then(changed)
    assert bool(changed.denies()) is less


def test_another_way_to_prove_itself_ends_no_token_and_fences_what_the_old_one_proved() -> None:
    post = confidential(auth_method=AuthMethod.CLIENT_SECRET_POST)
    changed = ApplicationChanged(client_id=HUB, settings=post, narrowed=False, proof_changed=True)
    given(decider, *registered()).when(change(auth_method=AuthMethod.CLIENT_SECRET_POST)).then(changed)
    assert changed.denies() == (Denial(DenialKind.CLIENT, secrets_id(HUB), DenialRule.CUT_OFF),)


def test_a_change_touches_only_what_it_names() -> None:
    first = ApplicationChanged(client_id=HUB, settings=confidential(contact="a@b.example"), narrowed=False)
    both = confidential(contact="a@b.example", display_name="Hub")
    given(decider, *registered(), first).when(change(display_name="Hub")).then(
        ApplicationChanged(client_id=HUB, settings=both, narrowed=False)
    )


def test_a_change_to_what_already_is_writes_nothing() -> None:
    given(decider, *registered()).when(change(display_name="BackstageHub")).then_nothing()
    given(decider, *registered()).when(change()).then_nothing()


def test_a_change_keeps_every_rule() -> None:
    hub = given(decider, *registered())
    hub.when(change(display_name="")).refused("invalid_client_metadata")
    hub.when(change(redirect_uris=())).refused("invalid_redirect_uri")
    hub.when(change(auth_method=AuthMethod.NONE)).refused("invalid_client_metadata")
    hub.when(change(scopes=("read", "unheard"))).refused("invalid_scope", "unheard")


def test_a_scope_that_its_resource_gave_up_does_not_stand_in_the_way_of_other_changes() -> None:
    given(decider, *registered()).when(change(frozenset({"read"}), display_name="Hub")).then(
        ApplicationChanged(client_id=HUB, settings=confidential(display_name="Hub"), narrowed=False)
    )


def test_the_type_is_fixed() -> None:
    hub = given(decider, *registered())
    hub.when(change(type=ApplicationType.PUBLIC)).refused("invalid_client_metadata", "type")
    hub.when(change(type=ApplicationType.CONFIDENTIAL)).then_nothing()


def test_no_authentication_method_named_means_the_usual_one() -> None:
    post = ApplicationChanged(
        client_id=HUB,
        settings=confidential(auth_method=AuthMethod.CLIENT_SECRET_POST),
        narrowed=False,
        proof_changed=True,
    )
    given(decider, *registered(), post).when(change(auth_method=None)).then(
        ApplicationChanged(client_id=HUB, settings=confidential(), narrowed=False, proof_changed=True)
    )


def test_several_secrets_are_valid_at_once_up_to_a_bound() -> None:
    hub = given(decider, *registered())
    for number in range(2, MOST_SECRETS + 1):
        hub = hub.when(AddSecret(HUB, secret(number), NOW)).then(added(secret(number)))
    hub.when(AddSecret(HUB, secret(9), NOW)).refused("too_many_secrets")
    revoked = hub.when(RevokeSecret(HUB, "secret-2")).then(SecretRevoked(client_id=HUB, secret_id="secret-2"))
    revoked.when(AddSecret(HUB, secret(9), NOW)).then(added(secret(9)))


def test_expired_secrets_do_not_count() -> None:
    soon = [added(secret(number, NOW + timedelta(seconds=1))) for number in range(2, MOST_SECRETS + 1)]
    hub = given(decider, *registered(), *soon)
    hub.when(AddSecret(HUB, secret(9), NOW)).refused("too_many_secrets")
    hub.when(AddSecret(HUB, secret(9), NOW + timedelta(seconds=1))).then(added(secret(9)))


def test_a_secret_expires_in_the_future() -> None:
    given(decider, *registered()).when(AddSecret(HUB, secret(2, NOW), NOW)).refused("invalid_client_metadata")


@pytest.mark.parametrize("settings", [public(), native()])
def test_what_can_keep_no_secret_gets_none(settings: Any) -> None:
    app = ApplicationRegistered(client_id=HUB, settings=settings)
    given(decider, app).when(AddSecret(HUB, secret(2), NOW)).refused("no_secrets")


def test_secrets_are_revoked_one_by_one_even_the_last() -> None:
    hub = given(decider, *registered())
    revoked = hub.when(RevokeSecret(HUB, "secret-1")).then(SecretRevoked(client_id=HUB, secret_id="secret-1"))
    revoked.when(RevokeSecret(HUB, "secret-1")).then_nothing()
    hub.when(RevokeSecret(HUB, "secret-2")).refused("secret_not_found")


def test_a_compromised_secret_ends_what_was_given_before() -> None:
    reported = SecretReportedCompromised(client_id=HUB, secret_id="secret-1")
    hub = given(decider, *registered())
    after = hub.when(ReportSecretCompromised(HUB, "secret-1")).then(reported)
    after.when(ReportSecretCompromised(HUB, "secret-1")).then_nothing()
    after.when(RevokeSecret(HUB, "secret-1")).then_nothing()
    assert reported.denies() == (Denial(DenialKind.CLIENT, HUB, DenialRule.CUT_OFF),)
    hub.when(ReportSecretCompromised(HUB, "secret-2")).refused("secret_not_found")


def test_a_secret_that_was_revoked_can_still_be_reported() -> None:
    revoked = SecretRevoked(client_id=HUB, secret_id="secret-1")
    given(decider, *registered(), revoked).when(ReportSecretCompromised(HUB, "secret-1")).then(
        SecretReportedCompromised(client_id=HUB, secret_id="secret-1")
    )


def test_secrets_can_be_rotated_while_disabled() -> None:
    given(decider, *registered(), DISABLED).when(AddSecret(HUB, secret(2), NOW)).then(added(secret(2)))
