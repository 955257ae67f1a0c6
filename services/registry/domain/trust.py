"""What an application has to be like to be trusted: the rules between its settings."""

import re
from collections.abc import Iterable

from services.registry.domain.certificates import check_certificates
from services.registry.domain.fapi import check_profile
from services.registry.domain.public_keys import check_keys
from services.registry.domain.refusals import invalid
from services.registry.domain.text import check_distinct, check_scope, check_text
from services.registry.domain.uris import called_fault, redirect_fault, web_fault
from services.registry.events import ApplicationSettings, ApplicationType, AuthMethod, GrantType, ReferenceTokens

ACCESS_TOKEN_SECONDS = range(60, 24 * 3600 + 1)
REFRESH_TOKEN_SECONDS = range(60, 365 * 24 * 3600 + 1)

WITH_KEYS = (AuthMethod.PRIVATE_KEY_JWT, AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH)
"""What is proved with a key that is registered."""

_CLIENT_ID = re.compile(r"(?=.{3,128}\Z)[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:/[a-z0-9.-]+)+")
_SUB = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_client_id(client_id: str) -> None:
    """Refuse a name that is not like a URI: `reverse.domain/name`."""
    if not _CLIENT_ID.fullmatch(client_id):
        raise invalid(
            "a client_id is like com.example/app: a reversed domain, then path segments, of a-z 0-9 . -, at most 128"
        )
    if any(not segment.strip(".") for segment in client_id.split("/")):
        raise invalid("a client_id has no segments of dots alone")


def default_auth_method(kind: ApplicationType, *, signs: bool) -> AuthMethod:
    """What an application authenticates with if nothing is said (RFC 7591 section 2), by whether it has keys."""
    if kind is not ApplicationType.CONFIDENTIAL:
        return AuthMethod.NONE
    return AuthMethod.PRIVATE_KEY_JWT if signs else AuthMethod.CLIENT_SECRET_BASIC


def has_secrets(settings: ApplicationSettings) -> bool:
    """Whether it authenticates with a secret."""
    return settings.auth_method in (AuthMethod.CLIENT_SECRET_BASIC, AuthMethod.CLIENT_SECRET_POST)


def check_settings(settings: ApplicationSettings, *, demo: bool = False) -> None:
    """Refuse settings that break a rule, whatever they were before. `demo`: what demo mode alone allows is allowed."""
    check_text(settings.display_name, "the display name")
    if settings.contact is not None:
        check_text(settings.contact, "the contact", longest=200)
    if settings.logo_uri is not None and (fault := web_fault(settings.logo_uri)):
        raise invalid(f"the logo's address {fault}")
    check_distinct(settings.user_kinds, "user kinds", most=3)
    if not settings.user_kinds:
        raise invalid("an application admits one kind of users at least")
    _check_grants(settings)
    _check_authentication(settings)
    _check_keys(settings, demo=demo)
    check_certificates(settings)
    _check_redirects(settings)
    logout_uri = settings.backchannel_logout_uri
    if logout_uri is not None and (fault := called_fault(logout_uri, demo=demo)):
        raise invalid(f"the back-channel logout URI {fault}")
    _check_scopes(settings)
    _check_lifetimes(settings)
    check_profile(settings)


def check_known(asked: Iterable[str], known: frozenset[str]) -> None:
    """Refuse scopes that no resource owns: one could come to mean something later that nobody has allowed."""
    unknown = sorted(set(asked) - known)
    if unknown:
        raise invalid(f"no resource has the scope {' '.join(unknown)}", "invalid_scope")


def narrowed(before: ApplicationSettings, after: ApplicationSettings) -> bool:
    """Whether the application may do less than before, so that the tokens of before say too much.

    So they do where it is held to a profile from now on: they were given by other rules.
    """
    return bool(
        (after.security_profile is not None and after.security_profile is not before.security_profile)
        or set(before.scopes) - set(after.scopes)
        or set(before.grants) - set(after.grants)
        or set(before.user_kinds) - set(after.user_kinds)
    )


BEGUN_BY_A_PERSON = frozenset({GrantType.AUTHORIZATION_CODE, GrantType.DEVICE_CODE})
"""Grants that give access to what is a person's."""
_ADMITTED = (ReferenceTokens.NONE, ReferenceTokens.ADMINISTRATORS_ONLY, ReferenceTokens.AUTHENTICATED_USERS)
"""From nobody to everybody."""


def references_narrowed(before: ApplicationSettings, after: ApplicationSettings) -> bool:
    """Whether reference tokens of before would do what none could be made for now."""
    if before.reference_tokens is ReferenceTokens.NONE:
        return False
    fewer = _ADMITTED.index(after.reference_tokens) < _ADMITTED.index(before.reference_tokens)
    return fewer or after.service_account != before.service_account


def proof_changed(before: ApplicationSettings, after: ApplicationSettings) -> bool:
    """Whether what proved the application before may prove it no more."""
    if before.certificate_names != after.certificate_names:
        return True
    return (before.auth_method, before.jwks, before.jwks_uri) != (after.auth_method, after.jwks, after.jwks_uri)


def _check_grants(settings: ApplicationSettings) -> None:
    grants = settings.grants
    check_distinct(grants, "grants", most=len(GrantType))
    if not grants and settings.reference_tokens is ReferenceTokens.NONE:
        raise invalid("an application has one grant at least, unless reference tokens are made for it")
    if GrantType.REFRESH_TOKEN in grants and not BEGUN_BY_A_PERSON & set(grants):
        raise invalid("refresh_token continues what a person began: it needs authorization_code, or the device code")
    if GrantType.AUTHORIZATION_CODE in grants and not settings.redirect_uris:
        raise invalid("authorization_code needs a redirect URI", "invalid_redirect_uri")
    if settings.service_account is not None:
        if GrantType.CLIENT_CREDENTIALS not in grants and settings.reference_tokens is ReferenceTokens.NONE:
            raise invalid("only client_credentials and reference tokens act as a service account")
        if not _SUB.fullmatch(settings.service_account):
            raise invalid("a service account is named by its sub")


def _check_authentication(settings: ApplicationSettings) -> None:
    """What cannot keep a secret has none, and uses PKCE (RFC 6749 section 2.1, RFC 9700 section 2.1.1)."""
    if settings.type is ApplicationType.CONFIDENTIAL:
        if settings.auth_method is AuthMethod.NONE:
            raise invalid("a confidential application authenticates with its secret, its key or its certificate")
        return
    if settings.auth_method is not AuthMethod.NONE:
        raise invalid(f"a {settings.type} application can keep no secret; its authentication method is none")
    if not settings.require_pkce:
        raise invalid(f"a {settings.type} application has to use PKCE")
    if GrantType.CLIENT_CREDENTIALS in settings.grants:
        raise invalid(f"a {settings.type} application cannot prove that it is itself, so it has no client_credentials")
    if GrantType.TOKEN_EXCHANGE in settings.grants:
        raise invalid(f"a {settings.type} application cannot prove that it is itself, so it exchanges no tokens")


def _check_keys(settings: ApplicationSettings, *, demo: bool) -> None:
    """Whoever shows a key has some, in one place; for everybody else they would be a second way in."""
    given = bool(settings.jwks) + (settings.jwks_uri is not None)
    if settings.require_signed_request_object and settings.auth_method is not AuthMethod.PRIVATE_KEY_JWT:
        raise invalid("only an application that has keys, by private_key_jwt, can sign its requests")
    if settings.auth_method not in WITH_KEYS:
        if given:
            raise invalid(f"keys are for applications whose authentication method is {' or '.join(WITH_KEYS)}")
        return
    if given != 1:
        raise invalid(f"{settings.auth_method} needs keys: either a JWKS or a JWKS URI")
    check_keys(settings.jwks)
    if settings.jwks_uri is not None and (fault := called_fault(settings.jwks_uri, demo=demo)):
        raise invalid(f"the JWKS URI {fault}")


def _check_redirects(settings: ApplicationSettings) -> None:
    native = settings.type is ApplicationType.NATIVE
    for uris, what in (
        (settings.redirect_uris, "redirect URIs"),
        (settings.post_logout_redirect_uris, "post-logout redirect URIs"),
    ):
        check_distinct(uris, what, most=50)
        for uri in uris:
            if fault := redirect_fault(uri, native=native):
                raise invalid(f"one of the {what} {fault}", "invalid_redirect_uri")


def _check_scopes(settings: ApplicationSettings) -> None:
    check_distinct(settings.scopes, "scopes", most=100)
    for scope in settings.scopes:
        check_scope(scope)


def _check_lifetimes(settings: ApplicationSettings) -> None:
    access, refresh = settings.access_token_seconds, settings.refresh_token_seconds
    if access is not None and access not in ACCESS_TOKEN_SECONDS:
        raise invalid("an access token lives for 60 seconds to 24 hours")
    if refresh is not None and refresh not in REFRESH_TOKEN_SECONDS:
        raise invalid("a refresh token lives for 60 seconds to 365 days")
