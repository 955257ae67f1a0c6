"""Between the messages of `stagedoor.registry.v1` and the registry's own words. No rules: those are in `domain`."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.identity.events import UserKind
from services.registry.domain.fapi import implied
from services.registry.domain.public_keys import jwks_text, public_keys
from services.registry.domain.refusals import invalid
from services.registry.domain.trust import default_auth_method
from services.registry.events import (
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    ReferenceTokens,
    ResourceSettings,
    ResponseAlgorithm,
    Scope,
    SecurityProfile,
)
from services.registry.read_model import ApplicationRow, ResourceRow

E = TypeVar("E", bound=StrEnum)


# What was asked


def _word(words: type[E], text: str, what: str) -> E:
    try:
        return words(text)
    except ValueError:
        raise invalid(f"{what} is one of: {', '.join(words)}") from None


def words_of(words: type[E], texts: Iterable[str], what: str) -> tuple[E, ...]:
    """The words that texts stand for; raises `Refusal` for any other."""
    return tuple(_word(words, text, what) for text in texts)


_APPLICATION: Mapping[str, Callable[[pb.ApplicationSettings], Any]] = {
    "display_name": lambda asked: asked.display_name,
    "logo_uri": lambda asked: asked.logo_uri or None,
    "contact": lambda asked: asked.contact or None,
    "type": lambda asked: _word(ApplicationType, asked.type, "type"),
    "redirect_uris": lambda asked: tuple(asked.redirect_uris),
    "post_logout_redirect_uris": lambda asked: tuple(asked.post_logout_redirect_uris),
    "backchannel_logout_uri": lambda asked: asked.backchannel_logout_uri or None,
    "backchannel_logout_session_required": lambda asked: asked.backchannel_logout_session_required,
    "user_kinds": lambda asked: words_of(UserKind, asked.user_kinds, "a user kind") or (UserKind.INTERNAL,),
    "service_account": lambda asked: asked.service_account or None,
    "scopes": lambda asked: tuple(asked.scopes),
    "grants": lambda asked: words_of(GrantType, asked.grants, "a grant"),
    "auth_method": lambda asked: _word(AuthMethod, asked.auth_method, "auth_method") if asked.auth_method else None,
    "jwks": lambda asked: public_keys(asked.jwks) if asked.jwks else (),
    "jwks_uri": lambda asked: asked.jwks_uri or None,
    "require_pkce": lambda asked: asked.require_pkce if asked.HasField("require_pkce") else True,
    "require_pushed_authorization_requests": lambda asked: asked.require_pushed_authorization_requests,
    "require_signed_request_object": lambda asked: asked.require_signed_request_object,
    "dpop_bound_access_tokens": lambda asked: asked.dpop_bound_access_tokens,
    "tls_client_certificate_bound_access_tokens": lambda asked: asked.tls_client_certificate_bound_access_tokens,
    "tls_client_auth_subject_dn": lambda asked: asked.tls_client_auth_subject_dn or None,
    "tls_client_auth_san_dns": lambda asked: asked.tls_client_auth_san_dns or None,
    "tls_client_auth_san_uri": lambda asked: asked.tls_client_auth_san_uri or None,
    "tls_client_auth_san_ip": lambda asked: asked.tls_client_auth_san_ip or None,
    "tls_client_auth_san_email": lambda asked: asked.tls_client_auth_san_email or None,
    "reference_tokens": lambda asked: _word(ReferenceTokens, asked.reference_tokens or "none", "reference_tokens"),
    "access_token_seconds": lambda asked: asked.access_token_seconds or None,
    "refresh_token_seconds": lambda asked: asked.refresh_token_seconds or None,
    "first_party": lambda asked: asked.first_party,
    "userinfo_signed_response_alg": lambda asked: (
        _word(ResponseAlgorithm, asked.userinfo_signed_response_alg, "userinfo_signed_response_alg")
        if asked.userinfo_signed_response_alg
        else None
    ),
    "id_token_signed_response_alg": lambda asked: _word(
        ResponseAlgorithm, asked.id_token_signed_response_alg or ResponseAlgorithm.RS256, "id_token_signed_response_alg"
    ),
    "security_profile": lambda asked: (
        _word(SecurityProfile, asked.security_profile, "security_profile") if asked.security_profile else None
    ),
}
"""How each setting is read from a message; an empty value means the usual one, as the message's comments say."""

_RESOURCE: Mapping[str, Callable[[pb.ResourceSettings], Any]] = {
    "display_name": lambda asked: asked.display_name,
    "scopes": lambda asked: tuple(Scope(name=scope.name, description=scope.description) for scope in asked.scopes),
    "admits_community_users": lambda asked: asked.admits_community_users,
    "callers": lambda asked: tuple(asked.callers),
}


def application_settings(asked: pb.ApplicationSettings) -> ApplicationSettings:
    """All settings of a new application."""
    values = {name: read(asked) for name, read in _APPLICATION.items()}
    values["auth_method"] = values["auth_method"] or default_auth_method(
        values["type"], signs=bool(values["jwks"] or values["jwks_uri"])
    )
    needed = implied(values["security_profile"], by_certificate=asked.tls_client_certificate_bound_access_tokens)
    unsaid = {name: value for name, value in needed.items() if not getattr(asked, name)}
    return ApplicationSettings(**{**values, **unsaid})


def application_changes(asked: pb.ApplicationSettings, mask: FieldMask) -> Mapping[str, Any]:
    """The settings that `mask` names."""
    return {name: _APPLICATION[name](asked) for name in _named(mask, _APPLICATION)}


def resource_settings(asked: pb.ResourceSettings) -> ResourceSettings:
    """All settings of a new resource."""
    return ResourceSettings(**{name: read(asked) for name, read in _RESOURCE.items()})


def resource_changes(asked: pb.ResourceSettings, mask: FieldMask) -> Mapping[str, Any]:
    """The settings that `mask` names."""
    return {name: _RESOURCE[name](asked) for name in _named(mask, _RESOURCE)}


def _named(mask: FieldMask, known: Mapping[str, object]) -> list[str]:
    if not mask.paths:
        raise invalid("the mask names what is to change, and it names nothing", "invalid_mask")
    unknown = [path for path in mask.paths if path not in known]
    if unknown:
        raise invalid(f"the mask can name: {', '.join(known)}", "invalid_mask")
    return list(mask.paths)


def moment(asked: Timestamp) -> datetime:
    """A point in time."""
    try:
        return asked.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid("a time has to be within the years 1 to 9999", "invalid_time") from None


LARGEST_PAGE = 1000
_USUAL_PAGE = 100


def page_size(asked: int) -> int:
    """How many entries a page has."""
    if asked < 0:
        raise invalid("a page has no negative size", "invalid_page")
    return min(asked or _USUAL_PAGE, LARGEST_PAGE)


def page_token(last: str) -> str:
    """Names the page after the one that ends with `last`."""
    return urlsafe_b64encode(last.encode()).rstrip(b"=").decode()


def page_start(token: str) -> str:
    """The last entry of the page before; empty for the first page."""
    try:
        text = urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
    except (Error, ValueError):
        text = ""
    if page_token(text) != token:
        raise invalid("there is no such page", "invalid_page")
    return text


# What is answered


def settings_message(settings: ApplicationSettings) -> pb.ApplicationSettings:
    """Settings, as they are told."""
    return pb.ApplicationSettings(
        display_name=settings.display_name,
        logo_uri=settings.logo_uri or "",
        contact=settings.contact or "",
        type=settings.type,
        redirect_uris=settings.redirect_uris,
        post_logout_redirect_uris=settings.post_logout_redirect_uris,
        backchannel_logout_uri=settings.backchannel_logout_uri or "",
        backchannel_logout_session_required=settings.backchannel_logout_session_required,
        user_kinds=settings.user_kinds,
        service_account=settings.service_account or "",
        scopes=settings.scopes,
        grants=settings.grants,
        auth_method=settings.auth_method,
        jwks=jwks_text(settings.jwks),
        jwks_uri=settings.jwks_uri or "",
        require_pkce=settings.require_pkce,
        require_pushed_authorization_requests=settings.require_pushed_authorization_requests,
        require_signed_request_object=settings.require_signed_request_object,
        dpop_bound_access_tokens=settings.dpop_bound_access_tokens,
        tls_client_certificate_bound_access_tokens=settings.tls_client_certificate_bound_access_tokens,
        tls_client_auth_subject_dn=settings.tls_client_auth_subject_dn or "",
        tls_client_auth_san_dns=settings.tls_client_auth_san_dns or "",
        tls_client_auth_san_uri=settings.tls_client_auth_san_uri or "",
        tls_client_auth_san_ip=settings.tls_client_auth_san_ip or "",
        tls_client_auth_san_email=settings.tls_client_auth_san_email or "",
        reference_tokens=settings.reference_tokens,
        access_token_seconds=settings.access_token_seconds or 0,
        refresh_token_seconds=settings.refresh_token_seconds or 0,
        first_party=settings.first_party,
        userinfo_signed_response_alg=settings.userinfo_signed_response_alg or "",
        id_token_signed_response_alg=settings.id_token_signed_response_alg,
        security_profile=settings.security_profile or "",
    )


def application_message(row: ApplicationRow) -> pb.Application:
    """An application, as it is told."""
    return pb.Application(
        client_id=row.client_id,
        settings=settings_message(row.settings),
        enabled=row.enabled,
        secrets=[
            pb.Secret(
                secret_id=secret.secret_id,
                added_at=timestamp(secret.added_at),
                expires_at=timestamp(secret.expires_at),
            )
            for secret in row.secrets
        ],
        position=row.position,
        registered_at=timestamp(row.registered_at),
        initial_access_token=row.initial_access_token or "",
        document=row.document or "",
        document_digest=row.document_digest or "",
    )


def scope_messages(scopes: Iterable[Scope]) -> list[pb.Scope]:
    """Scopes, in plain words."""
    return [pb.Scope(name=scope.name, description=scope.description) for scope in scopes]


def resource_message(row: ResourceRow) -> pb.Resource:
    """A resource, as it is told."""
    return pb.Resource(
        identifier=row.identifier,
        settings=pb.ResourceSettings(
            display_name=row.settings.display_name,
            scopes=scope_messages(row.settings.scopes),
            admits_community_users=row.settings.admits_community_users,
            callers=row.settings.callers,
        ),
        position=row.position,
    )


def timestamp(at: datetime | None) -> Timestamp | None:
    """A point in time, or that there is none."""
    if at is None:
        return None
    message = Timestamp()
    message.FromDatetime(at)
    return message
