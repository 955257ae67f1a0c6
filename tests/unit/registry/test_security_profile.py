"""Applications that are held to the FAPI 2.0 Security Profile: what their settings can be, and what implies what."""

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.registry import messages
from services.registry.client_metadata import changes_of, metadata_of
from services.registry.domain.application import ByRegistrant, Change, decider
from services.registry.domain.trust import check_settings
from services.registry.events import (
    ApplicationChanged,
    ApplicationDynamicallyRegistered,
    ApplicationRegistered,
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    PublicJwk,
    ReferenceTokens,
    ResponseAlgorithm,
    SecurityProfile,
)
from shared.denials import Denial, DenialKind, DenialRule
from shared.errors import Refusal
from tests.support.assertions import ClientKey
from tests.support.decider import given
from tests.unit.registry.applications import FIRST, HUB, KNOWN, confidential

FAPI2 = SecurityProfile.FAPI2
URI = "https://hub.example/callback"
NOW = datetime(1986, 7, 12, 20, 0, tzinfo=UTC)
SIGNING: dict[str, Any] = {
    "redirect_uris": (URI,),
    "auth_method": AuthMethod.PRIVATE_KEY_JWT,
    "jwks": (ClientKey().public,),
}
IMPLIED: dict[str, Any] = {
    "require_pushed_authorization_requests": True,
    "dpop_bound_access_tokens": True,
    "id_token_signed_response_alg": ResponseAlgorithm.ES256,
}
BY_CERTIFICATE: dict[str, Any] = {
    "dpop_bound_access_tokens": False,
    "tls_client_certificate_bound_access_tokens": True,
}
CUT_OFF = Denial(DenialKind.CLIENT, HUB, DenialRule.CUT_OFF)


def held(**changes: Any) -> ApplicationSettings:
    """One that is right as it stands."""
    return confidential(**{**SIGNING, **IMPLIED, "security_profile": FAPI2, **changes})


def change(**changes: Any) -> Change:
    return Change(HUB, changes, KNOWN)


def known(settings: ApplicationSettings) -> ApplicationRegistered:
    return ApplicationRegistered(client_id=HUB, settings=settings)


FORBIDDEN: list[tuple[dict[str, Any], str]] = [
    ({"type": ApplicationType.PUBLIC, "auth_method": AuthMethod.NONE, "jwks": ()}, "client_credentials"),
    (
        {
            "type": ApplicationType.NATIVE,
            "auth_method": AuthMethod.NONE,
            "jwks": (),
            "grants": (GrantType.AUTHORIZATION_CODE,),
        },
        "is confidential",
    ),
    ({"auth_method": AuthMethod.CLIENT_SECRET_BASIC, "jwks": ()}, "authenticates by private_key_jwt"),
    ({"auth_method": AuthMethod.CLIENT_SECRET_POST, "jwks": ()}, "authenticates by private_key_jwt"),
    (
        {"jwks": (PublicJwk(**{**ClientKey("RS256").jwk, "alg": "RS256"}),)},
        "signs with ES256 or EdDSA or PS256",
    ),
    ({"dpop_bound_access_tokens": False}, "access tokens bound"),
    ({"require_pushed_authorization_requests": False}, "push"),
    ({"require_pkce": False}, "PKCE"),
    ({"id_token_signed_response_alg": ResponseAlgorithm.RS256}, "RS256"),
    ({"userinfo_signed_response_alg": ResponseAlgorithm.RS256}, "RS256"),
    ({"grants": (GrantType.AUTHORIZATION_CODE, GrantType.DEVICE_CODE)}, "no grants but"),
    ({"grants": (GrantType.CLIENT_CREDENTIALS, GrantType.TOKEN_EXCHANGE)}, "no grants but"),
    ({"reference_tokens": ReferenceTokens.ADMINISTRATORS_ONLY}, "reference tokens"),
    ({"redirect_uris": (URI, "http://localhost:8480/callback")}, "https"),
    ({"redirect_uris": ("http://127.0.0.1/callback",)}, "https"),
]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"userinfo_signed_response_alg": ResponseAlgorithm.ES256},
        {"require_signed_request_object": True},
        {"jwks": (), "jwks_uri": "https://hub.example/keys"},
        {"jwks": (ClientKey("RS256", "a").public, ClientKey("EdDSA", "b").public)},
        {"grants": (GrantType.CLIENT_CREDENTIALS,), "redirect_uris": ()},
        {"first_party": True},
        BY_CERTIFICATE,
        {**BY_CERTIFICATE, "auth_method": AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH},
        {"auth_method": AuthMethod.TLS_CLIENT_AUTH, "jwks": (), "tls_client_auth_san_dns": "hub.example"},
        {"post_logout_redirect_uris": ("http://localhost:8480/signed-out",)},
    ],
)
def test_what_it_allows(changes: dict[str, Any]) -> None:
    check_settings(held(**changes))


@pytest.mark.parametrize(("changes", "about"), FORBIDDEN)
@pytest.mark.parametrize("demo", [False, True])
def test_what_it_forbids(changes: dict[str, Any], about: str, demo: bool) -> None:
    with pytest.raises(Refusal, match=about) as refused:
        check_settings(held(**changes), demo=demo)
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("changes", [changes for changes, _ in FORBIDDEN if "type" not in changes], ids=" ".join)
def test_what_it_forbids_cannot_be_changed_to(changes: dict[str, Any]) -> None:
    code = "invalid_redirect_uri" if "redirect_uris" in changes else "invalid_client_metadata"
    given(decider, known(held())).when(change(**changes)).refused(code)
    begun = given(decider, known(confidential(**SIGNING))).when(change(security_profile=FAPI2, **changes))
    begun.refused(code)


def test_a_change_that_begins_it_brings_what_it_needs_and_ends_what_was_given() -> None:
    changed = ApplicationChanged(client_id=HUB, settings=held(), narrowed=True)
    given(decider, known(confidential(**SIGNING))).when(change(security_profile=FAPI2)).then(changed)
    assert CUT_OFF in changed.denies()


def test_where_tokens_are_bound_to_a_certificate_it_needs_no_other_key() -> None:
    begin, held_by_it = change(security_profile=FAPI2), held(**BY_CERTIFICATE)
    certified = confidential(**SIGNING, tls_client_certificate_bound_access_tokens=True)
    given(decider, known(certified)).when(begin).then(
        ApplicationChanged(client_id=HUB, settings=held_by_it, narrowed=True)
    )
    both = change(security_profile=FAPI2, tls_client_certificate_bound_access_tokens=True)
    given(decider, known(confidential(**SIGNING))).when(both).then(
        ApplicationChanged(client_id=HUB, settings=held_by_it, narrowed=True)
    )
    assert not changes_of({"security_profile": "fapi2", "tls_client_certificate_bound_access_tokens": True}, HUB)[
        "dpop_bound_access_tokens"
    ]
    asked = pb.ApplicationSettings(
        type="confidential", security_profile="fapi2", tls_client_certificate_bound_access_tokens=True
    )
    assert not messages.application_settings(asked).dpop_bound_access_tokens


def test_it_is_never_begun_by_who_authenticates_with_a_secret() -> None:
    plain = given(decider, known(confidential(redirect_uris=(URI,))))
    plain.when(change(security_profile=FAPI2)).refused("invalid_client_metadata", "private_key_jwt")
    plain.when(change(security_profile=FAPI2, auth_method=None, jwks=SIGNING["jwks"])).then(
        ApplicationChanged(client_id=HUB, settings=held(), narrowed=True, proof_changed=True)
    )


def test_other_changes_end_nothing() -> None:
    after = held(display_name="Hub")
    changed = ApplicationChanged(client_id=HUB, settings=after, narrowed=False)
    given(decider, known(held())).when(change(display_name="Hub")).then(changed)
    given(decider, known(held())).when(change(security_profile=FAPI2)).then_nothing()


def test_an_administrator_takes_it_away_and_nothing_else_with_it() -> None:
    after = confidential(**SIGNING, **IMPLIED)
    changed = ApplicationChanged(client_id=HUB, settings=after, narrowed=False)
    given(decider, known(held())).when(change(security_profile=None)).then(changed)
    assert changed.denies() == ()


def test_an_application_does_not_take_it_from_itself() -> None:
    grants = tuple(GrantType)
    by_itself = ApplicationDynamicallyRegistered(
        client_id=HUB, initial_access_token="i", scopes=(), grants=grants, registration_token_digest="d"
    )

    def asking(**changes: Any) -> ByRegistrant:
        return ByRegistrant(HUB, "d", change(**changes), FIRST, NOW)

    history = given(decider, known(held()), by_itself)
    history.when(asking(security_profile=None)).refused("invalid_client_metadata", "administrator")
    weaker = {"security_profile": None, "dpop_bound_access_tokens": False}
    history.when(asking(**weaker)).refused("invalid_client_metadata", "administrator")
    history.when(asking(display_name="Hub")).then(
        ApplicationChanged(client_id=HUB, settings=held(display_name="Hub"), narrowed=False)
    )
    without = given(decider, known(confidential(**SIGNING)), by_itself)
    without.when(asking(security_profile=FAPI2)).then(ApplicationChanged(client_id=HUB, settings=held(), narrowed=True))


def asked(**more: Any) -> pb.ApplicationSettings:
    message = {"display_name": "x", "type": "confidential", "jwks": '{"keys": []}', "security_profile": "fapi2"}
    message["jwks"] = "" if "jwks_uri" in more else message["jwks"]
    return pb.ApplicationSettings(**{**message, **more})


def test_a_registration_says_one_word_and_the_rest_follows() -> None:
    settings = messages.application_settings(asked(jwks_uri="https://hub.example/keys"))
    assert {name: getattr(settings, name) for name in IMPLIED} == IMPLIED
    assert (settings.auth_method, settings.security_profile) == (AuthMethod.PRIVATE_KEY_JWT, FAPI2)


def test_what_a_registration_says_itself_is_not_overruled() -> None:
    said = asked(jwks_uri="https://hub.example/keys", id_token_signed_response_alg="RS256")
    settings = messages.application_settings(said)
    assert settings.id_token_signed_response_alg is ResponseAlgorithm.RS256
    with pytest.raises(Refusal):
        check_settings(settings)


def test_a_change_by_message() -> None:
    named = FieldMask(paths=["security_profile"])
    assert messages.application_changes(asked(), named) == {"security_profile": FAPI2}
    assert messages.application_changes(asked(security_profile=""), named) == {"security_profile": None}
    with pytest.raises(Refusal, match="security_profile is one of: fapi2"):
        messages.application_changes(asked(security_profile="fapi1"), named)


def test_client_metadata_say_the_same() -> None:
    answered = metadata_of(HUB, held(user_kinds=ApplicationSettings.model_fields["user_kinds"].default), NOW)
    assert answered["security_profile"] == "fapi2"
    short = {name: value for name, value in answered.items() if name not in IMPLIED}
    assert changes_of(short, HUB) == changes_of(answered, HUB)
    assert "security_profile" not in metadata_of(HUB, confidential(), NOW)


@pytest.mark.parametrize("name", ["require_pushed_authorization_requests", "dpop_bound_access_tokens"])
def test_client_metadata_that_contradict_it_are_not_overruled(name: str) -> None:
    said = {**metadata_of(HUB, held(), NOW), name: False}
    settings = ApplicationSettings(**changes_of(said, HUB))
    with pytest.raises(Refusal):
        check_settings(settings)


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(Refusal, match="security_profile"):
        changes_of({"security_profile": "fapi1"}, HUB)
