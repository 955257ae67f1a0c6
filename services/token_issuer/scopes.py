"""Which scopes a token may have, and which audiences follow from them.

A token's audiences are the resources that own its scopes, or those of them that were asked for (RFC 8707). The scopes
of the protocol itself belong to userinfo, need not be listed at the application, and are never issued without a user.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.identity.events import Role, UserKind
from services.registry.events import GrantType
from services.token_issuer.claims import CLAIM_SCOPES
from services.token_issuer.views import Application, Resource, User
from shared.errors import Kind, Refusal

OPENID = "openid"
OFFLINE_ACCESS = "offline_access"
USERINFO_SCOPES = (OPENID, "profile", "email", "address", "phone")
"""OpenID Connect Core section 5.4; those of single claims belong to userinfo, too."""

DESCRIPTIONS = {
    OPENID: "know that it is you",
    "profile": "see your name, language and time zone",
    "email": "see your e-mail address",
    "address": "see your postal address",
    "phone": "see your telephone number",
    OFFLINE_ACCESS: "keep this access while you are away",
    **CLAIM_SCOPES,
}
"""Plain language for the consent page; each completes "This application will be able to …"."""

MOST_SCOPES = 100
_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,64}")
"""RFC 6749 section 3.3."""


@dataclass(frozen=True, slots=True)
class Places:
    """The audiences that are the system's own."""

    userinfo: str
    management: str


@dataclass(frozen=True, slots=True)
class Access:
    """What a token, or a grant, allows."""

    scopes: tuple[str, ...]
    audiences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms an application gets a token of its own."""

    sub: str
    access: Access
    roles: tuple[str, ...]
    seconds: int
    """Life of the token."""


def parse(text: str | None) -> tuple[str, ...]:
    """The scopes of a `scope` parameter, each once, in their order; none where it is missing."""
    if text is None:
        return ()
    tokens = tuple(dict.fromkeys(token for token in text.split(" ") if token))
    if len(tokens) > MOST_SCOPES or not all(_TOKEN.fullmatch(token) for token in tokens):
        raise invalid_scope("scope is not a list of scope tokens (RFC 6749 section 3.3)")
    return tokens


def asked(  # noqa: PLR0913  (each is one independent part of the question)
    application: Application,
    resources: Sequence[Resource],
    scope: str | None,
    targets: Sequence[str],
    places: Places,
    *,
    with_user: bool,
) -> Access:
    """What an application asks for, or a refusal: `invalid_scope`, `invalid_target` (RFC 8707 section 2).

    Nothing said means all API scopes of the application.
    """
    reachable = _reachable(resources, targets, places)
    allowed = set(application.settings.scopes)
    wanted = parse(scope)
    if not wanted:
        wanted = tuple(name for name in application.settings.scopes if _owners(name, reachable))
    kept = []
    for name in wanted:
        if of_userinfo(name) or name == OFFLINE_ACCESS:
            if not with_user:
                raise invalid_scope(f"{name} is issued for a user only")
            if name != OFFLINE_ACCESS or application.uses(GrantType.REFRESH_TOKEN):
                kept.append(name)
        elif name in allowed and _owners(name, reachable):
            kept.append(name)
        else:
            raise invalid_scope("a scope that was asked for is unknown, or the application may not have it")
    access = _access(kept, reachable, places)
    if not access.audiences:
        raise invalid_scope("no scope was asked for that a token could be issued for")
    if not set(targets) <= set(access.audiences):
        raise invalid_target("no scope that was asked for belongs to one of the resources")
    return access


def permitted(
    access: Access, application: Application, resources: Sequence[Resource], user: User | None, places: Places
) -> Access:
    """What remains of `access` for this user, as things are now; perhaps nothing.

    Gone is what the application or the resource has lost; management for who is neither administrator nor auditor; and
    the APIs for a community user, unless application and resource both admit community users.
    """
    allowed = set(application.settings.scopes)
    reachable = [resource for resource in resources if resource.identifier in access.audiences]
    kept = []
    for name in access.scopes:
        if of_userinfo(name):
            kept.append(name)
        elif name == OFFLINE_ACCESS:
            if application.uses(GrantType.REFRESH_TOKEN):
                kept.append(name)
        elif name in allowed and any(_admits(owner, application, user, places) for owner in _owners(name, reachable)):
            kept.append(name)
    admitting = [resource for resource in reachable if _admits(resource, application, user, places)]
    remaining = _access(kept, admitting, places)
    return Access(remaining.scopes, tuple(name for name in remaining.audiences if name in access.audiences))


def narrowed(
    access: Access, resources: Sequence[Resource], scope: str | None, targets: Sequence[str], places: Places
) -> Access:
    """The part of a grant that one token request asks for (RFC 6749 section 6, RFC 8707 section 2.2)."""
    wanted = parse(scope)
    if not set(wanted) <= set(access.scopes):
        raise invalid_scope("the grant does not have a scope that was asked for")
    if not set(targets) <= set(access.audiences):
        raise invalid_target("the grant does not reach a resource that was asked for")
    if not wanted and not targets:
        return access
    reached = set(targets) or set(access.audiences)
    reachable = [resource for resource in resources if resource.identifier in reached]
    kept = [
        name
        for name in access.scopes
        if (not wanted or name in wanted)
        and (
            name == OFFLINE_ACCESS
            or (places.userinfo in reached if of_userinfo(name) else bool(_owners(name, reachable)))
        )
    ]
    part = _access(kept, reachable, places)
    part = Access(part.scopes, tuple(name for name in part.audiences if name in reached))
    if not part.audiences:
        raise invalid_scope("nothing is left of what was asked for")
    return part


def roles(audiences: Iterable[str], user: User | None, places: Places) -> tuple[str, ...]:
    """The roles that a token states: to the management resource, and to nobody else."""
    if user is None or places.management not in audiences:
        return ()
    return tuple(role.value for role in Role if role in user.roles)


def description(scope: str, resources: Iterable[Resource]) -> str:
    """What a scope lets an application do, in plain words."""
    if scope in DESCRIPTIONS:
        return DESCRIPTIONS[scope]
    for resource in resources:
        for owned in resource.settings.scopes:
            if owned.name == scope:
                return owned.description
    return scope


def of_userinfo(scope: str) -> bool:
    """Whether it is about the person, who is told of at userinfo."""
    return scope in USERINFO_SCOPES or scope in CLAIM_SCOPES


def invalid_scope(message: str) -> Refusal:
    """RFC 6749 sections 4.1.2.1 and 5.2."""
    return Refusal(Kind.INVALID, "invalid_scope", message)


def invalid_target(message: str) -> Refusal:
    """RFC 8707 section 2."""
    return Refusal(Kind.INVALID, "invalid_target", message)


def _reachable(resources: Sequence[Resource], targets: Sequence[str], places: Places) -> Sequence[Resource]:
    if not targets:
        return resources
    known = {resource.identifier for resource in resources} | {places.userinfo}
    if not set(targets) <= known:
        raise invalid_target("a resource that was asked for is unknown")
    return [resource for resource in resources if resource.identifier in targets]


def _owners(scope: str, resources: Iterable[Resource]) -> list[Resource]:
    return [resource for resource in resources if resource.owns(scope)]


def _access(scopes: Sequence[str], resources: Sequence[Resource], places: Places) -> Access:
    audiences = [owner.identifier for name in scopes for owner in _owners(name, resources)]
    if any(of_userinfo(name) for name in scopes):
        audiences.append(places.userinfo)
    return Access(tuple(scopes), tuple(dict.fromkeys(audiences)))


def _admits(resource: Resource, application: Application, user: User | None, places: Places) -> bool:
    if resource.identifier == places.management and not (user is not None and user.roles):
        return False
    if user is not None and user.kind is UserKind.COMMUNITY:
        return UserKind.COMMUNITY in application.settings.user_kinds and resource.settings.admits_community_users
    return True
