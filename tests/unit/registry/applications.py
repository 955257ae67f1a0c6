"""Applications to test with: each right as it stands, so that a test changes the one thing it is about."""

from typing import Any

from services.identity.events import UserKind
from services.registry.domain.application import NewSecret, Register
from services.registry.events import (
    ApplicationRegistered,
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    SecretAdded,
)

HUB = "com.backstagehub/app"
KNOWN = frozenset({"read", "update"})
FIRST = NewSecret("secret-1", "00" * 32)

_CONFIDENTIAL = ApplicationSettings(
    display_name="BackstageHub",
    type=ApplicationType.CONFIDENTIAL,
    redirect_uris=("http://localhost:8480/callback",),
    user_kinds=(UserKind.INTERNAL, UserKind.COMMUNITY),
    scopes=("read", "update"),
    grants=(GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN, GrantType.CLIENT_CREDENTIALS),
    auth_method=AuthMethod.CLIENT_SECRET_BASIC,
)
_NATIVE = ApplicationSettings(
    display_name="Tour bus",
    type=ApplicationType.NATIVE,
    redirect_uris=("http://127.0.0.1/callback",),
    scopes=("read",),
    grants=(GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN),
    auth_method=AuthMethod.NONE,
)


def confidential(**changes: Any) -> ApplicationSettings:
    """A web application with a server."""
    return ApplicationSettings.model_validate({**dict(_CONFIDENTIAL), **changes})


def native(**changes: Any) -> ApplicationSettings:
    """An application on somebody's machine."""
    return ApplicationSettings.model_validate({**dict(_NATIVE), **changes})


def public(**changes: Any) -> ApplicationSettings:
    """An application in a browser."""
    return native(**{"type": ApplicationType.PUBLIC, "redirect_uris": ("https://roadie.example/callback",), **changes})


def register(
    settings: ApplicationSettings, client_id: str = HUB, known: frozenset[str] = KNOWN, *, demo: bool = False
) -> Register:
    """The command that registers it."""
    return Register(client_id, settings, known, FIRST, demo=demo)


def registered(settings: ApplicationSettings | None = None) -> tuple[ApplicationRegistered, SecretAdded]:
    """What happened when a confidential application was registered."""
    return (
        ApplicationRegistered(client_id=HUB, settings=settings or confidential()),
        SecretAdded(client_id=HUB, secret_id=FIRST.secret_id, secret_digest=FIRST.secret_digest),
    )
