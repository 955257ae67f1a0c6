"""What a program may register, and what the application may do with its registration access token."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.registry.domain import initial_access
from services.registry.domain.application import (
    ByRegistrant,
    Change,
    Disable,
    Enable,
    NewSecret,
    Register,
    RevokeRegistrationAccessToken,
    Uninstall,
    decider,
)
from services.registry.domain.dynamic import Registrant
from services.registry.events import (
    ApplicationChanged,
    ApplicationDynamicallyRegistered,
    ApplicationRegistered,
    ApplicationSettings,
    ApplicationUninstalled,
    AuthMethod,
    GrantType,
    InitialAccessTokenIssued,
    InitialAccessTokenRevoked,
    PublicJwk,
    ReferenceTokens,
    RegistrationAccessTokenRevoked,
    SecretAdded,
)
from shared.log.event import Event
from tests.support.assertions import ClientKey
from tests.support.decider import given
from tests.unit.registry.applications import FIRST, confidential, native, public

NOW = datetime(1986, 7, 12, tzinfo=UTC)
TOUR = "com.tour/bus"
OURS, THEIRS = "aa" * 32, "bb" * 32
SECOND = NewSecret("secret-2", "11" * 32)
CODE, REFRESH, CLIENT = GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN, GrantType.CLIENT_CREDENTIALS
KNOWN = frozenset({"read", "update", "sec"})
REGISTRANT = Registrant("token-1", "com.tour/", ("read", "sec"), (CODE, REFRESH), OURS)
BY = ApplicationDynamicallyRegistered(
    client_id=TOUR,
    initial_access_token="token-1",
    scopes=("read", "sec"),
    grants=(CODE, REFRESH),
    registration_token_digest=OURS,
)


def tour(**changes: Any) -> ApplicationSettings:
    return confidential(**{"scopes": ("read",), "grants": (CODE, REFRESH), **changes})


def register(settings: ApplicationSettings, client_id: str = TOUR) -> Register:
    return Register(client_id, settings, KNOWN, FIRST, registrant=REGISTRANT)


def registered(settings: ApplicationSettings | None = None) -> tuple[Event, ...]:
    secret = SecretAdded(client_id=TOUR, secret_id=FIRST.secret_id, secret_digest=FIRST.secret_digest)
    return ApplicationRegistered(client_id=TOUR, settings=settings or tour()), secret, BY


def change(changes: Mapping[str, Any], token: str = OURS, shown: str | None = None) -> ByRegistrant:
    return ByRegistrant(TOUR, token, Change(TOUR, changes, KNOWN), SECOND, NOW, shown)


def uninstall(token: str = OURS) -> ByRegistrant:
    return ByRegistrant(TOUR, token, Uninstall(TOUR), SECOND, NOW)


def test_it_is_registered_with_what_let_it_and_its_own_token() -> None:
    given(decider).when(register(tour())).then(*registered())


@pytest.mark.parametrize("settings", [native(), public()])
def test_one_without_a_secret_too(settings: ApplicationSettings) -> None:
    first = ApplicationRegistered(client_id=TOUR, settings=settings)
    given(decider).when(register(settings)).then(first, BY)


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"first_party": True}, "first-party"),
        ({"service_account": "sub", "reference_tokens": ReferenceTokens.AUTHENTICATED_USERS}, "service account"),
        ({"reference_tokens": ReferenceTokens.ADMINISTRATORS_ONLY}, "reference tokens"),
        ({"require_pkce": False}, "PKCE"),
        ({"scopes": ("sec",)}, "scope sec"),
    ],
)
def test_what_none_ever_is(changes: dict[str, Any], about: str) -> None:
    given(decider).when(register(tour(**changes))).refused("invalid_client_metadata", about)
    by_administrator = Change(TOUR, changes, KNOWN)
    given(decider, *registered()).when(by_administrator).refused("invalid_client_metadata", about)
    given(decider, *registered()).when(change(changes)).refused("invalid_client_metadata", about)


@pytest.mark.parametrize("changes", [{"scopes": ("read", "update")}, {"grants": (CODE, CLIENT)}])
def test_what_its_initial_access_token_does_not_allow(changes: dict[str, Any]) -> None:
    given(decider).when(register(tour(**changes))).refused("invalid_client_metadata", "does not allow")
    given(decider, *registered()).when(change(changes)).refused("invalid_client_metadata", "does not allow")


def test_what_an_administrator_gave_it_may_stay() -> None:
    more = ApplicationChanged(client_id=TOUR, settings=tour(scopes=("read", "update")), narrowed=False)
    after = tour(scopes=("read", "update"), display_name="Other")
    wanted = change({"scopes": ("read", "update"), "display_name": "Other"})
    given(decider, *registered(), more).when(wanted).then(
        ApplicationChanged(client_id=TOUR, settings=after, narrowed=False)
    )


@pytest.mark.parametrize("client_id", ["com.stagedoor/app", "com.other/bus", "com.tour.other/bus"])
def test_a_name_elsewhere(client_id: str) -> None:
    given(decider).when(register(tour(), client_id)).refused("invalid_client_metadata")


def test_a_change_that_narrows_ends_what_was_given_before() -> None:
    after = tour(scopes=())
    given(decider, *registered()).when(change({"scopes": ()})).then(
        ApplicationChanged(client_id=TOUR, settings=after, narrowed=True)
    )


def test_a_change_of_nothing_writes_nothing() -> None:
    given(decider, *registered()).when(change({"scopes": ("read",)})).then_nothing()


def test_the_type_stays() -> None:
    wanted = change({"type": native().type, "auth_method": AuthMethod.NONE})
    given(decider, *registered()).when(wanted).refused("invalid_client_metadata", "type")


@pytest.mark.parametrize("command", [change({"display_name": "X"}, THEIRS), uninstall(THEIRS)])
def test_another_token_does_nothing(command: ByRegistrant) -> None:
    given(decider, *registered()).when(command).refused("invalid_token")


@pytest.mark.parametrize("command", [change({"display_name": "X"}), uninstall()])
def test_nobody_manages_what_is_disabled_gone_unknown_or_an_administrators(command: ByRegistrant) -> None:
    disabled = decider.decide(Disable(TOUR, ""), given(decider, *registered()).state)
    given(decider, *registered(), *disabled).when(command).refused("invalid_token")
    given(decider, *registered(), ApplicationUninstalled(client_id=TOUR)).when(command).refused("invalid_token")
    given(decider).when(command).refused("invalid_token")
    given(decider, *registered()[:2]).when(command).refused("invalid_token")


def test_it_goes_on_when_it_is_enabled_again() -> None:
    history = (*registered(), *decider.decide(Disable(TOUR, ""), given(decider, *registered()).state))
    enabled = decider.decide(Enable(TOUR), given(decider, *history).state)
    given(decider, *history, *enabled).when(uninstall()).then(ApplicationUninstalled(client_id=TOUR))


def test_a_revoked_token_manages_nothing() -> None:
    revoked = RegistrationAccessTokenRevoked(client_id=TOUR)
    after = given(decider, *registered()).when(RevokeRegistrationAccessToken(TOUR)).then(revoked)
    given(decider, *after.events).when(uninstall()).refused("invalid_token")
    given(decider, *after.events).when(RevokeRegistrationAccessToken(TOUR)).then_nothing()


def test_an_administrators_application_has_none_to_revoke() -> None:
    given(decider, *registered()[:2]).when(RevokeRegistrationAccessToken(TOUR)).then_nothing()
    given(decider).when(RevokeRegistrationAccessToken(TOUR)).refused("application_not_found")


def test_the_secret_that_comes_along_has_to_be_one_of_its_own() -> None:
    given(decider, *registered()).when(change({}, shown=FIRST.secret_digest)).then_nothing()
    given(decider, *registered()).when(change({}, shown=SECOND.secret_digest)).refused("invalid_client_metadata")


def test_whoever_needs_a_secret_from_now_on_gets_one() -> None:
    key = PublicJwk(**ClientKey("ES256").jwk)
    signing = tour(auth_method=AuthMethod.PRIVATE_KEY_JWT, jwks=(key,))
    history = (ApplicationRegistered(client_id=TOUR, settings=signing), BY)
    wanted = change({"auth_method": AuthMethod.CLIENT_SECRET_BASIC, "jwks": ()})
    given(decider, *history).when(wanted).then(
        ApplicationChanged(client_id=TOUR, settings=tour(), narrowed=False, proof_changed=True),
        SecretAdded(client_id=TOUR, secret_id=SECOND.secret_id, secret_digest=SECOND.secret_digest),
    )


# Initial access tokens


def issue(**changes: Any) -> initial_access.Issue:
    values: dict[str, Any] = {
        "token_id": "t",
        "token_digest": OURS,
        "purpose": "Build server",
        "expires_at": NOW + timedelta(days=7),
        "uses": 1,
        "client_id_prefix": "com.tour/",
        "scopes": ("read",),
        "grants": (CODE,),
        "known_scopes": KNOWN,
        "now": NOW,
    }
    return initial_access.Issue(**{**values, **changes})


ISSUED = InitialAccessTokenIssued(
    token_id="t",
    token_digest=OURS,
    purpose="Build server",
    expires_at=NOW + timedelta(days=7),
    uses=1,
    client_id_prefix="com.tour/",
    scopes=("read",),
    grants=(CODE,),
)


def test_a_token_is_issued_once() -> None:
    given(initial_access.decider).when(issue()).then(ISSUED)
    given(initial_access.decider, ISSUED).when(issue()).refused("initial_access_token_exists")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"purpose": ""}, "invalid_client_metadata"),
        ({"purpose": "x\u202ey"}, "invalid_client_metadata"),
        ({"expires_at": NOW}, "invalid_time"),
        ({"expires_at": NOW + timedelta(days=367)}, "invalid_time"),
        ({"uses": 0}, "invalid_client_metadata"),
        ({"uses": -1}, "invalid_client_metadata"),
        ({"uses": 10_001}, "invalid_client_metadata"),
        ({"client_id_prefix": ""}, "invalid_client_metadata"),
        ({"client_id_prefix": "com.tour"}, "invalid_client_metadata"),
        ({"client_id_prefix": "com.stagedoor/"}, "invalid_client_metadata"),
        ({"client_id_prefix": "com.stagedoor/x/"}, "invalid_client_metadata"),
        ({"client_id_prefix": "tour/"}, "invalid_client_metadata"),
        ({"client_id_prefix": "com.tour/../"}, "invalid_client_metadata"),
        ({"client_id_prefix": "com.tour/" + "a" * 100 + "/"}, "invalid_client_metadata"),
        ({"scopes": ("sec",)}, "invalid_scope"),
        ({"scopes": ("openid",)}, "invalid_scope"),
        ({"scopes": ("unheard-of",)}, "invalid_scope"),
        ({"scopes": ("read", "read")}, "invalid_client_metadata"),
        ({"grants": ()}, "invalid_client_metadata"),
        ({"grants": (CODE, CODE)}, "invalid_client_metadata"),
    ],
)
def test_what_no_token_allows(changes: dict[str, Any], code: str) -> None:
    given(initial_access.decider).when(issue(**changes)).refused(code)


@pytest.mark.parametrize("changes", [{"uses": None}, {"uses": 10_000}, {"scopes": ()}])
def test_what_tokens_may_allow(changes: dict[str, Any]) -> None:
    given(initial_access.decider).when(issue(**changes)).then(ISSUED.model_copy(update=changes))


def test_a_token_is_revoked_for_good() -> None:
    revoked = InitialAccessTokenRevoked(token_id="t")
    after = given(initial_access.decider, ISSUED).when(initial_access.Revoke("t")).then(revoked)
    given(initial_access.decider, *after.events).when(initial_access.Revoke("t")).then_nothing()
    given(initial_access.decider, *after.events).when(issue()).refused("initial_access_token_exists")
    given(initial_access.decider).when(initial_access.Revoke("t")).refused("initial_access_token_not_found")
