"""Between client metadata in JSON (RFC 7591 section 2) and the settings of an application. No rules: see `domain`.

What is not known here is ignored, as section 2 has it, and so not in the answer. What is known is kept as it is, or
refused: nobody is told afterwards that something else was registered, but for what is not kept at all. The exceptions
are the first of several contacts, which is the one that is shown, and scopes of the protocol, which any application
may ask for and which are answered by what its grants allow.

Known and not kept: `client_uri`, `tos_uri`, `policy_uri`, `software_id`, `software_version`, names in other languages.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

from services.registry.domain.fapi import implied
from services.registry.domain.public_keys import jwks_text, public_keys
from services.registry.domain.refusals import invalid
from services.registry.domain.text import PROTOCOL_SCOPES
from services.registry.domain.trust import BEGUN_BY_A_PERSON
from services.registry.events import (
    CERTIFICATE_NAMES,
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    ResponseAlgorithm,
    SecurityProfile,
)
from shared.errors import Kind, Refusal

Metadata = Mapping[str, Any]

ISSUED_BY_US: Final = (
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
)
"""A change must not include these (RFC 7592 section 2.2)."""
_MOST_SCOPES: Final = 200
_PROTOCOL: Final = ("openid", "profile", "email")
_OFFLINE: Final = "offline_access"
_CODE: Final = "code"

_PROMISES: Final[Mapping[str, tuple[Any, ...]]] = {
    "subject_type": ("public",),
    "id_token_encrypted_response_alg": (),
    "id_token_encrypted_response_enc": (),
    "userinfo_encrypted_response_alg": (),
    "userinfo_encrypted_response_enc": (),
    "require_auth_time": (False,),
    "default_max_age": (),
}
"""What would make an application safer than it is if it were kept: the values that hold anyway. Others are refused,
because to ignore them would be a promise."""

E = TypeVar("E", bound=StrEnum)


def changes_of(metadata: Metadata, client_id: str) -> dict[str, Any]:
    """The settings that the metadata decides, by name; what is missing has its default. Raises `Refusal`."""
    given = {name: value for name, value in metadata.items() if value is not None}
    _refuse_statement(given)
    for name, holds in _PROMISES.items():
        if name in given and given[name] not in holds:
            raise invalid(f"{name}: it is not supported here")
    native = _one_of(given, "application_type", ("web", "native"), "web") == "native"
    grants = _grants(given)
    method = _auth_method(given, native=native)
    contacts = _texts(given, "contacts")
    profile = _word(SecurityProfile, given, "security_profile", None)
    by_certificate = _flag(given, "tls_client_certificate_bound_access_tokens")
    unsaid = {
        name: value for name, value in implied(profile, by_certificate=by_certificate).items() if name not in given
    }
    return {
        "display_name": _text(given, "client_name") or client_id,
        "logo_uri": _text(given, "logo_uri"),
        "contact": contacts[0] if contacts else None,
        "type": _type(method, native=native),
        "redirect_uris": _texts(given, "redirect_uris"),
        "post_logout_redirect_uris": _texts(given, "post_logout_redirect_uris"),
        "backchannel_logout_uri": _text(given, "backchannel_logout_uri"),
        "backchannel_logout_session_required": _flag(given, "backchannel_logout_session_required"),
        "scopes": _scopes(given),
        "grants": grants,
        "auth_method": method,
        "jwks": _jwks(given),
        "jwks_uri": _text(given, "jwks_uri"),
        "require_pushed_authorization_requests": _flag(given, "require_pushed_authorization_requests"),
        "require_signed_request_object": _flag(given, "require_signed_request_object"),
        "dpop_bound_access_tokens": _flag(given, "dpop_bound_access_tokens"),
        "tls_client_certificate_bound_access_tokens": by_certificate,
        **{name: _text(given, name) for name in CERTIFICATE_NAMES},
        "userinfo_signed_response_alg": _word(ResponseAlgorithm, given, "userinfo_signed_response_alg", None),
        "id_token_signed_response_alg": _word(
            ResponseAlgorithm, given, "id_token_signed_response_alg", ResponseAlgorithm.RS256
        ),
        "security_profile": profile,
        **unsaid,
    }


def metadata_of(client_id: str, settings: ApplicationSettings, registered_at: datetime) -> dict[str, Any]:
    """What is registered, as it is answered (RFC 7591 section 3.2.1)."""
    code = GrantType.AUTHORIZATION_CODE in settings.grants
    offline = [_OFFLINE] if GrantType.REFRESH_TOKEN in settings.grants else []
    protocol = [*_PROTOCOL, *offline] if BEGUN_BY_A_PERSON & set(settings.grants) else []
    said: dict[str, Any] = {
        "client_id": client_id,
        "client_id_issued_at": int(registered_at.timestamp()),
        "client_name": settings.display_name,
        "logo_uri": settings.logo_uri,
        "contacts": [settings.contact] if settings.contact else None,
        "application_type": "native" if settings.type is ApplicationType.NATIVE else "web",
        "redirect_uris": list(settings.redirect_uris),
        "post_logout_redirect_uris": list(settings.post_logout_redirect_uris),
        "backchannel_logout_uri": settings.backchannel_logout_uri,
        "backchannel_logout_session_required": settings.backchannel_logout_session_required,
        "scope": " ".join([*protocol, *settings.scopes]),
        "grant_types": [grant.value for grant in settings.grants],
        "response_types": [_CODE] if code else [],
        "token_endpoint_auth_method": settings.auth_method.value,
        "jwks": json.loads(jwks_text(settings.jwks)) if settings.jwks else None,
        "jwks_uri": settings.jwks_uri,
        "require_pushed_authorization_requests": settings.require_pushed_authorization_requests,
        "require_signed_request_object": settings.require_signed_request_object,
        "dpop_bound_access_tokens": settings.dpop_bound_access_tokens,
        "tls_client_certificate_bound_access_tokens": settings.tls_client_certificate_bound_access_tokens,
        **settings.certificate_names,
        "userinfo_signed_response_alg": settings.userinfo_signed_response_alg,
        "id_token_signed_response_alg": settings.id_token_signed_response_alg,
        "security_profile": settings.security_profile,
    }
    return {name: value for name, value in said.items() if value is not None}


def _refuse_statement(given: Metadata) -> None:
    """RFC 7591 section 2.3: nobody is trusted here to make software statements."""
    if "software_statement" not in given:
        return
    statement = given["software_statement"]
    if not isinstance(statement, str) or statement.count(".") != 2:
        raise Refusal(Kind.INVALID, "invalid_software_statement", "the software statement is no JWT")
    raise Refusal(Kind.INVALID, "unapproved_software_statement", "nobody's software statements are accepted here")


def _grants(given: Metadata) -> tuple[GrantType, ...]:
    """They have to fit the response types (section 2.1)."""
    names = _texts(given, "grant_types") if "grant_types" in given else (GrantType.AUTHORIZATION_CODE.value,)
    grants = tuple(_value(GrantType, name, "grant_types") for name in names)
    code = GrantType.AUTHORIZATION_CODE in grants
    if "response_types" in given and _texts(given, "response_types") != ((_CODE,) if code else ()):
        raise invalid(
            "response_types: it is [code] with the grant authorization_code, which is the usual one, and empty without"
        )
    return grants


def _auth_method(given: Metadata, *, native: bool) -> AuthMethod:
    """`client_secret_basic` if nothing is said (section 2); what runs on somebody's machine can keep no secret."""
    usual = AuthMethod.NONE if native else AuthMethod.CLIENT_SECRET_BASIC
    return _word(AuthMethod, given, "token_endpoint_auth_method", usual) or usual


def _type(method: AuthMethod, *, native: bool) -> ApplicationType:
    if native:
        return ApplicationType.NATIVE
    return ApplicationType.PUBLIC if method is AuthMethod.NONE else ApplicationType.CONFIDENTIAL


def _scopes(given: Metadata) -> tuple[str, ...]:
    words = (_text(given, "scope") or "").split(" ")
    if len(words) > _MOST_SCOPES:
        raise invalid(f"scope: there can be {_MOST_SCOPES} at most")
    return tuple(word for word in words if word and word not in PROTOCOL_SCOPES)


def _jwks(given: Metadata) -> Any:
    if "jwks" not in given:
        return ()
    if "jwks_uri" in given:
        raise invalid("jwks and jwks_uri: there is one or the other")
    if not isinstance(given["jwks"], dict):
        raise invalid("jwks: it is a JWK Set")
    return public_keys(json.dumps(given["jwks"]))


def _text(given: Metadata, name: str) -> str | None:
    """A text; an empty one says nothing."""
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid(f"{name}: it is a string")
    return value or None


def _texts(given: Metadata, name: str) -> tuple[str, ...]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise invalid(f"{name}: it is a list of strings", _code_for(name))
    return tuple(value)


def _flag(given: Metadata, name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise invalid(f"{name}: it is true or false")
    return value


def _one_of(given: Metadata, name: str, words: tuple[str, ...], usual: str) -> str:
    value = _text(given, name) or usual
    if value not in words:
        raise invalid(f"{name}: it is one of: {', '.join(words)}")
    return value


def _word(words: type[E], given: Metadata, name: str, usual: E | None) -> E | None:
    value = _text(given, name)
    return usual if value is None else _value(words, value, name)


def _value(words: Callable[[str], E], text: str, name: str) -> E:
    try:
        return words(text)
    except ValueError:
        raise invalid(f"{name}: it has a value that is not supported here") from None


def _code_for(name: str) -> str:
    return "invalid_redirect_uri" if name == "redirect_uris" else "invalid_client_metadata"
