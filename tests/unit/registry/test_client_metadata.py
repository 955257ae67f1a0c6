"""Client metadata (RFC 7591 section 2) as settings, and back."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.registry.client_metadata import changes_of, metadata_of
from services.registry.domain.trust import check_settings
from services.registry.events import (
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    PublicJwk,
    ResponseAlgorithm,
)
from shared.errors import Refusal
from tests.support.assertions import ClientKey
from tests.unit.registry.applications import confidential, native, public

NAME = "com.tour/bus"
AT = datetime(1986, 7, 12, tzinfo=UTC)
CODE, REFRESH, CLIENT = GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN, GrantType.CLIENT_CREDENTIALS
URI = "https://tour.example/callback"
KEY = ClientKey("ES256").jwk


def settings_of(**metadata: Any) -> ApplicationSettings:
    return ApplicationSettings(**changes_of(metadata, NAME))


def test_what_is_not_said_has_its_default() -> None:
    assert settings_of(redirect_uris=[URI]) == ApplicationSettings(
        display_name=NAME,
        type=ApplicationType.CONFIDENTIAL,
        redirect_uris=(URI,),
        grants=(CODE,),
        auth_method=AuthMethod.CLIENT_SECRET_BASIC,
    )


def test_null_says_nothing() -> None:
    nothing = dict.fromkeys(("client_name", "scope", "jwks", "jwks_uri", "grant_types", "software_statement"))
    assert settings_of(redirect_uris=[URI], **nothing) == settings_of(redirect_uris=[URI])


def test_what_is_unknown_is_ignored() -> None:
    more = {"client_uri": "javascript:x", "tos_uri": 7, "client_name#ja": [], "x": {"y": [None]}, "client_id": "mine"}
    assert settings_of(redirect_uris=[URI], **more) == settings_of(redirect_uris=[URI])


@pytest.mark.parametrize(
    ("metadata", "kind", "method"),
    [
        ({}, ApplicationType.CONFIDENTIAL, AuthMethod.CLIENT_SECRET_BASIC),
        ({"token_endpoint_auth_method": "none"}, ApplicationType.PUBLIC, AuthMethod.NONE),
        ({"application_type": "native"}, ApplicationType.NATIVE, AuthMethod.NONE),
        (
            {"application_type": "web", "token_endpoint_auth_method": "client_secret_post"},
            ApplicationType.CONFIDENTIAL,
            AuthMethod.CLIENT_SECRET_POST,
        ),
    ],
)
def test_the_type_follows_from_how_it_authenticates(
    metadata: dict[str, Any], kind: ApplicationType, method: AuthMethod
) -> None:
    settings = settings_of(**metadata)
    assert (settings.type, settings.auth_method) == (kind, method)


def test_scopes_of_the_protocol_are_nobodys_to_register() -> None:
    assert settings_of(scope="openid read profile offline_access update").scopes == ("read", "update")


@pytest.mark.parametrize(
    "settings",
    [
        confidential(user_kinds=ApplicationSettings.model_fields["user_kinds"].default),
        confidential(
            user_kinds=ApplicationSettings.model_fields["user_kinds"].default,
            logo_uri="https://tour.example/logo.png",
            contact="bus@tour.example",
            post_logout_redirect_uris=("https://tour.example/bye",),
            backchannel_logout_uri="https://tour.example/logout",
            backchannel_logout_session_required=True,
            require_pushed_authorization_requests=True,
            require_signed_request_object=True,
            dpop_bound_access_tokens=True,
            userinfo_signed_response_alg=ResponseAlgorithm.ES256,
            id_token_signed_response_alg=ResponseAlgorithm.ES256,
            auth_method=AuthMethod.PRIVATE_KEY_JWT,
            jwks=(PublicJwk(**KEY),),
        ),
        confidential(
            user_kinds=ApplicationSettings.model_fields["user_kinds"].default,
            auth_method=AuthMethod.PRIVATE_KEY_JWT,
            jwks_uri="https://tour.example/keys",
            redirect_uris=(),
            grants=(CLIENT,),
        ),
        confidential(
            user_kinds=ApplicationSettings.model_fields["user_kinds"].default,
            auth_method=AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH,
            jwks=(PublicJwk(**KEY),),
            tls_client_certificate_bound_access_tokens=True,
        ),
        confidential(
            user_kinds=ApplicationSettings.model_fields["user_kinds"].default,
            auth_method=AuthMethod.TLS_CLIENT_AUTH,
            tls_client_auth_subject_dn="CN=bus,O=Tour",
        ),
        native(),
        public(),
    ],
)
def test_what_is_answered_registers_the_same(settings: ApplicationSettings) -> None:
    answered = metadata_of(NAME, settings, AT)
    assert ApplicationSettings(**changes_of(answered, NAME)) == settings
    check_settings(settings)


def test_what_an_application_may_ask_for_is_answered() -> None:
    assert metadata_of(NAME, native(), AT)["scope"] == "openid profile email offline_access read"
    device = native(grants=(GrantType.DEVICE_CODE,), redirect_uris=())
    assert metadata_of(NAME, device, AT)["scope"] == "openid profile email read"
    assert metadata_of(NAME, device, AT)["response_types"] == []
    own = confidential(grants=(CLIENT,), redirect_uris=())
    assert metadata_of(NAME, own, AT)["scope"] == "read update"
    assert metadata_of(NAME, own, AT)["response_types"] == []


METADATA, REDIRECT = "invalid_client_metadata", "invalid_redirect_uri"


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"redirect_uris": URI}, REDIRECT),
        ({"redirect_uris": [1]}, REDIRECT),
        ({"redirect_uris": {"a": 1}}, REDIRECT),
        ({"client_name": 7}, METADATA),
        ({"client_name": ["Bus"]}, METADATA),
        ({"contacts": "a@example.com"}, METADATA),
        ({"grant_types": "authorization_code"}, METADATA),
        ({"grant_types": ["implicit"]}, METADATA),
        ({"grant_types": ["password"]}, METADATA),
        ({"response_types": ["token"]}, METADATA),
        ({"response_types": ["code", "code id_token"]}, METADATA),
        ({"response_types": []}, METADATA),
        ({"grant_types": ["client_credentials"], "response_types": ["code"]}, METADATA),
        ({"token_endpoint_auth_method": "client_secret_jwt"}, METADATA),
        ({"token_endpoint_auth_method": "client_certificate"}, METADATA),
        ({"token_endpoint_auth_method": True}, METADATA),
        ({"application_type": "browser"}, METADATA),
        ({"scope": ["read"]}, METADATA),
        ({"scope": " ".join(f"s{n}" for n in range(300))}, METADATA),
        ({"jwks": "{}"}, METADATA),
        ({"jwks": {"keys": []}}, METADATA),
        ({"jwks": {"keys": [{**KEY, "d": "private"}]}}, METADATA),
        ({"jwks": {"keys": [KEY]}, "jwks_uri": "https://tour.example/keys"}, METADATA),
        ({"backchannel_logout_session_required": "true"}, METADATA),
        ({"require_pushed_authorization_requests": 1}, METADATA),
        ({"id_token_signed_response_alg": "none"}, METADATA),
        ({"id_token_signed_response_alg": "HS256"}, METADATA),
        ({"userinfo_signed_response_alg": "RS512"}, METADATA),
        ({"id_token_encrypted_response_alg": "RSA-OAEP"}, METADATA),
        ({"subject_type": "pairwise"}, METADATA),
        ({"dpop_bound_access_tokens": "yes"}, METADATA),
        ({"tls_client_certificate_bound_access_tokens": "yes"}, METADATA),
        ({"require_signed_request_object": "yes"}, METADATA),
        ({"default_max_age": 60}, METADATA),
        ({"software_statement": "a.b.c"}, "unapproved_software_statement"),
        ({"software_statement": "abc"}, "invalid_software_statement"),
        ({"software_statement": {}}, "invalid_software_statement"),
    ],
)
def test_what_is_known_and_wrong_is_refused(metadata: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as refused:
        settings_of(**{"redirect_uris": [URI], **metadata})
    assert refused.value.code == code


@pytest.mark.parametrize(
    "metadata",
    [{"subject_type": "public"}, {"require_auth_time": False}],
)
def test_what_holds_anyway_may_be_said(metadata: dict[str, Any]) -> None:
    assert settings_of(redirect_uris=[URI], **metadata) == settings_of(redirect_uris=[URI])


def test_each_setting_is_an_applications_own_or_an_administrators() -> None:
    """A new one is a decision: `changes_of` and `metadata_of` know it, or a program has no say in it."""
    administrators = {"user_kinds", "service_account", "require_pkce", "reference_tokens", "first_party"}
    lifetimes = {"access_token_seconds", "refresh_token_seconds"}
    own = changes_of({"redirect_uris": [URI]}, NAME).keys()
    assert ApplicationSettings.model_fields.keys() == own | administrators | lifetimes
    assert not own & (administrators | lifetimes)
