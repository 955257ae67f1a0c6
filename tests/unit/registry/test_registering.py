"""Who is trusted: every rule about what is registered, by an example that keeps it and one that breaks it."""

from collections.abc import Callable
from typing import Any

import pytest

from services.identity.events import UserKind
from services.registry.domain.application import Change, Register, Uninstall, decider
from services.registry.domain.trust import has_secrets
from services.registry.events import (
    ApplicationChanged,
    ApplicationRegistered,
    ApplicationSettings,
    ApplicationType,
    ApplicationUninstalled,
    AuthMethod,
    GrantType,
    ReferenceTokens,
)
from tests.support.decider import given
from tests.unit.registry.applications import FIRST, HUB, KNOWN, confidential, native, public, register, registered

CODE, REFRESH, CLIENT = GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN, GrantType.CLIENT_CREDENTIALS
EXCHANGE = GrantType.TOKEN_EXCHANGE
METADATA, REDIRECT, SCOPE = "invalid_client_metadata", "invalid_redirect_uri", "invalid_scope"


def test_a_confidential_application_is_registered_with_its_first_secret() -> None:
    given(decider).when(register(confidential())).then(*registered())


@pytest.mark.parametrize("settings", [public(), native()])
def test_public_and_native_applications_have_no_secret(settings: ApplicationSettings) -> None:
    given(decider).when(register(settings)).then(ApplicationRegistered(client_id=HUB, settings=settings))


def test_a_client_id_is_never_reused() -> None:
    given(decider, *registered()).when(register(confidential())).refused("name_taken")
    gone = ApplicationUninstalled(client_id=HUB)
    given(decider, *registered(), gone).when(register(confidential())).refused("name_taken")


@pytest.mark.parametrize(
    "client_id", ["com.example/app", "a.b/c", "com.example.sub/app/2", "io.x-y/a.b", "a.b/" + "c" * 124]
)
def test_a_client_id_is_like_a_uri(client_id: str) -> None:
    settings = native()
    given(decider).when(register(settings, client_id)).then(
        ApplicationRegistered(client_id=client_id, settings=settings)
    )


@pytest.mark.parametrize(
    "client_id",
    [
        "",
        "app",
        "com.example",
        "example/app",
        "com.example/",
        "/com.example/app",
        "com..example/app",
        "com.example//app",
        "com.example/..",
        "com.example/./app",
        "com.Example/app",
        "com.example/a b",
        "com.example/app?x",
        "com.example/app\n",
        "com.example/äpp",
        "a.b/" + "c" * 125,
    ],
)
def test_other_client_ids_are_refused(client_id: str) -> None:
    given(decider).when(register(native(), client_id)).refused(METADATA, "client_id")


def test_the_names_of_the_system_are_its_own() -> None:
    given(decider).when(register(native(), "com.stagedoor/cli")).refused(METADATA, "system")
    by_system = Register("com.stagedoor/cli", native(), KNOWN, FIRST, by_system=True)
    cli = ApplicationRegistered(client_id="com.stagedoor/cli", settings=native())
    installed = given(decider).when(by_system).then(cli)
    installed.when(Uninstall("com.stagedoor/cli")).refused("system_application")


@pytest.mark.parametrize(
    ("settings", "code", "about"),
    [
        (confidential(display_name=""), METADATA, "display name"),
        (confidential(display_name="x" * 101), METADATA, "display name"),
        (confidential(display_name=" Hub"), METADATA, "space"),
        (confidential(display_name="Hub\u0000"), METADATA, "seen"),
        (confidential(display_name="Hub\u202eppa"), METADATA, "seen"),
        (confidential(display_name="Hu\u200bb"), METADATA, "seen"),
        (confidential(contact="a\nb"), METADATA, "seen"),
        (confidential(contact="x" * 201), METADATA, "contact"),
        (confidential(logo_uri="http://hub.example/logo.png"), METADATA, "logo"),
        (confidential(logo_uri="javascript:alert(1)"), METADATA, "logo"),
        (confidential(user_kinds=()), METADATA, "kind of users"),
        (confidential(user_kinds=(UserKind.INTERNAL, UserKind.INTERNAL)), METADATA, "twice"),
        (confidential(grants=()), METADATA, "one grant"),
        (confidential(grants=(CODE, CODE)), METADATA, "twice"),
        (confidential(grants=(REFRESH,)), METADATA, "authorization_code"),
        (confidential(grants=(CLIENT, REFRESH)), METADATA, "authorization_code"),
        (confidential(redirect_uris=()), REDIRECT, "needs a redirect URI"),
        (confidential(redirect_uris=("https://a.example/x",) * 2), METADATA, "twice"),
        (confidential(redirect_uris=tuple(f"https://a.example/{n}" for n in range(51))), METADATA, "50"),
        (confidential(redirect_uris=("https://*.example/x",)), REDIRECT, "wildcard"),
        (confidential(redirect_uris=("com.example.hub:/x",)), REDIRECT, "https"),
        (confidential(post_logout_redirect_uris=("https://a.example/#x",)), REDIRECT, "post-logout"),
        (confidential(auth_method=AuthMethod.NONE), METADATA, "authenticates"),
        (confidential(grants=(CODE,), service_account="sub"), METADATA, "service account"),
        (confidential(service_account="not a sub"), METADATA, "sub"),
        (confidential(scopes=("read", "read")), METADATA, "twice"),
        (confidential(scopes=("openid", "read")), SCOPE, "protocol"),
        (confidential(scopes=("offline_access",)), SCOPE, "protocol"),
        (confidential(scopes=("re ad",)), SCOPE, "printable"),
        (confidential(scopes=('re"ad',)), SCOPE, "printable"),
        (confidential(scopes=("re\\ad",)), SCOPE, "printable"),
        (confidential(scopes=("",)), SCOPE, "printable"),
        (confidential(scopes=("read", "write")), SCOPE, "no resource has the scope write"),
        (confidential(access_token_seconds=59), METADATA, "access token"),
        (confidential(access_token_seconds=86_401), METADATA, "access token"),
        (confidential(refresh_token_seconds=59), METADATA, "refresh token"),
        (confidential(refresh_token_seconds=365 * 86_400 + 1), METADATA, "refresh token"),
        (public(auth_method=AuthMethod.CLIENT_SECRET_BASIC), METADATA, "none"),
        (native(auth_method=AuthMethod.CLIENT_SECRET_POST), METADATA, "none"),
        (public(require_pkce=False), METADATA, "PKCE"),
        (native(require_pkce=False), METADATA, "PKCE"),
        (public(grants=(CODE, CLIENT)), METADATA, "client_credentials"),
        (native(grants=(CLIENT,)), METADATA, "client_credentials"),
        (public(grants=(CODE, EXCHANGE)), METADATA, "exchanges no tokens"),
        (native(grants=(EXCHANGE,)), METADATA, "exchanges no tokens"),
        (public(redirect_uris=("com.example.spa:/x",)), REDIRECT, "https"),
        (native(redirect_uris=("example:/x",)), REDIRECT, "domain"),
    ],
)
def test_broken_rules(settings: ApplicationSettings, code: str, about: str) -> None:
    given(decider).when(register(settings)).refused(code, about)


@pytest.mark.parametrize(
    "changes",
    [
        {"require_pkce": False},
        {"auth_method": AuthMethod.CLIENT_SECRET_POST},
        {"grants": (CLIENT,), "redirect_uris": ()},
        {"grants": (EXCHANGE,), "redirect_uris": ()},
        {"grants": (CLIENT,), "redirect_uris": (), "service_account": "3q2-7w_A"},
        {"grants": (), "redirect_uris": (), "reference_tokens": ReferenceTokens.ADMINISTRATORS_ONLY},
        {"scopes": ()},
        {"access_token_seconds": 60, "refresh_token_seconds": 365 * 86_400},
        {"access_token_seconds": 86_400},
        {"logo_uri": "https://hub.example/logo.png", "contact": "hub@example.com"},
        {"logo_uri": "http://localhost:8480/logo.png"},
        {"display_name": "Ночной поезд 🎸"},
        {"first_party": True},
    ],
)
def test_what_a_confidential_application_may_be(changes: dict[str, Any]) -> None:
    settings = confidential(**changes)
    given(decider).when(register(settings)).then(*registered(settings))


@pytest.mark.parametrize("kind", [confidential, native, public])
@pytest.mark.parametrize("more", [(), (REFRESH,)])
def test_a_device_needs_no_redirect_uri_whatever_it_is(
    kind: Callable[..., ApplicationSettings], more: tuple[GrantType, ...]
) -> None:
    settings = kind(grants=(GrantType.DEVICE_CODE, *more), redirect_uris=())
    given(decider).when(register(settings)).then(*registered(settings)[: 2 if has_secrets(settings) else 1])


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1/callback", "http://[::1]/callback", "com.example.app:/callback", "https://app.example/callback"],
)
def test_where_a_native_application_may_be_called_back(uri: str) -> None:
    settings = native(redirect_uris=(uri,))
    given(decider).when(register(settings)).then(ApplicationRegistered(client_id=HUB, settings=settings))


def test_every_type_has_a_rule_about_secrets() -> None:
    made = {ApplicationType.CONFIDENTIAL: confidential, ApplicationType.PUBLIC: public, ApplicationType.NATIVE: native}
    assert set(made) == set(ApplicationType)
    for kind, make in made.items():
        events = given(decider).when(register(make())).events
        assert len(events) == (2 if kind is ApplicationType.CONFIDENTIAL else 1)


def test_where_an_application_is_told_of_logouts() -> None:
    settings = confidential(backchannel_logout_uri="https://hub.example/logout")
    given(decider).when(register(settings)).then(*registered(settings))
    here = confidential(backchannel_logout_uri="http://localhost:8480/logout")
    given(decider).when(register(here, demo=True)).then(*registered(here))
    given(decider).when(register(here)).refused(METADATA, "back-channel logout URI")
    fragment = confidential(backchannel_logout_uri="https://hub.example/logout#x")
    given(decider).when(register(fragment, demo=True)).refused(METADATA, "fragment")
    change = {"backchannel_logout_uri": here.backchannel_logout_uri}
    given(decider, *registered()).when(Change(HUB, change, KNOWN)).refused(METADATA, "is not https")
    given(decider, *registered()).when(Change(HUB, change, KNOWN, demo=True)).then(
        ApplicationChanged(client_id=HUB, settings=here, narrowed=False)
    )
