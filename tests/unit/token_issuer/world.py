"""A small world to test the issuer's rules in: each part right, so that a test changes the one that it is about."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.identity.events import Role, UserKind
from services.registry.events import (
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    ResourceSettings,
    Scope,
)
from services.token_issuer.scopes import Places
from services.token_issuer.views import Application, Resource, Secret, User
from shared.ids import digest

NOW = datetime(1985, 7, 13, 12, 0, tzinfo=UTC)
ORIGIN = "http://127.0.0.1:8400"
ISSUER = f"{ORIGIN}/id"
API = f"{ORIGIN}/api"
MERCH = "https://merch.example/api"
PLACES = Places(userinfo=f"{ISSUER}/connect/userinfo", management=f"{ORIGIN}/management")

HUB = "com.backstagehub/app"
SECRET = "w" * 43
CALLBACK = "http://localhost:8480/callback"

_SETTINGS = ApplicationSettings(
    display_name="BackstageHub",
    type=ApplicationType.CONFIDENTIAL,
    redirect_uris=(CALLBACK,),
    user_kinds=(UserKind.INTERNAL, UserKind.COMMUNITY),
    scopes=("read", "update"),
    grants=(GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN, GrantType.CLIENT_CREDENTIALS),
    auth_method=AuthMethod.CLIENT_SECRET_BASIC,
)


def settings(**changes: Any) -> ApplicationSettings:
    """Settings of a confidential application."""
    return ApplicationSettings.model_validate({**dict(_SETTINGS), **changes})


def public(**changes: Any) -> ApplicationSettings:
    """Settings of an application that can keep no secret."""
    without = {"type": ApplicationType.PUBLIC, "auth_method": AuthMethod.NONE}
    grants = (GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN)
    return settings(**{**without, "grants": grants, **changes})


def application(of: ApplicationSettings | None = None, *, enabled: bool = True, secret: str = SECRET) -> Application:
    """The application, with one secret."""
    return Application(HUB, of or _SETTINGS, enabled, (Secret(digest(secret), None),))


def resource(identifier: str, *scopes: str, community: bool = False, callers: tuple[str, ...] = ()) -> Resource:
    """A resource with these scopes."""
    named = tuple(Scope(name=name, description=f"{name} things") for name in scopes)
    return Resource(
        identifier,
        ResourceSettings(display_name="API", scopes=named, admits_community_users=community, callers=callers),
    )


RESOURCES = (resource(API, "read", "update"), resource(PLACES.management, "sec"), resource(MERCH, "sell"))


def user(kind: UserKind = UserKind.INTERNAL, *roles: Role, enabled: bool = True) -> User:
    """A user."""
    return User("freddie", kind, roles, enabled)


def later(**by: float) -> datetime:
    """A moment after `NOW`."""
    return NOW + timedelta(**by)
