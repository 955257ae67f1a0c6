"""From messages to the registry's words and back: nothing is lost, and nothing is guessed."""

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from protos.stagedoor.registry.v1 import registry_pb2 as pb
from services.identity.events import UserKind
from services.registry import messages
from services.registry.events import (
    ApplicationSettings,
    ApplicationType,
    AuthMethod,
    GrantType,
    ReferenceTokens,
    ResourceSettings,
    Scope,
)
from shared.errors import Refusal
from tests.unit.registry.rows import row_of

EVERYTHING = ApplicationSettings(
    display_name="BackstageHub",
    logo_uri="https://hub.example/logo.png",
    contact="hub@example.com",
    type=ApplicationType.CONFIDENTIAL,
    redirect_uris=("https://hub.example/a", "https://hub.example/b"),
    post_logout_redirect_uris=("https://hub.example/",),
    backchannel_logout_uri="https://hub.example/logout",
    backchannel_logout_session_required=True,
    user_kinds=(UserKind.INTERNAL, UserKind.COMMUNITY),
    service_account="sub-1",
    scopes=("read", "update"),
    grants=(GrantType.AUTHORIZATION_CODE, GrantType.CLIENT_CREDENTIALS),
    auth_method=AuthMethod.CLIENT_SECRET_POST,
    require_pkce=False,
    reference_tokens=ReferenceTokens.ADMINISTRATORS_ONLY,
    access_token_seconds=300,
    refresh_token_seconds=3600,
    first_party=True,
)


def test_an_application_survives_the_way_out_and_back() -> None:
    message = messages.application_message(row_of(EVERYTHING)).settings
    assert messages.application_settings(message) == EVERYTHING


def test_every_setting_can_be_named_in_a_mask() -> None:
    message = messages.application_message(row_of(EVERYTHING)).settings
    every = FieldMask(paths=list(ApplicationSettings.model_fields))
    assert messages.application_changes(message, every) == dict(EVERYTHING)
    assert set(ApplicationSettings.model_fields) == {field.name for field in pb.ApplicationSettings.DESCRIPTOR.fields}


def test_empty_means_the_usual() -> None:
    confidential = messages.application_settings(pb.ApplicationSettings(display_name="x", type="confidential"))
    assert confidential == ApplicationSettings(
        display_name="x", type=ApplicationType.CONFIDENTIAL, auth_method=AuthMethod.CLIENT_SECRET_BASIC
    )
    assert messages.application_settings(pb.ApplicationSettings(type="public")).auth_method is AuthMethod.NONE
    assert messages.application_changes(pb.ApplicationSettings(), FieldMask(paths=["auth_method"])) == {
        "auth_method": None
    }


@pytest.mark.parametrize(
    "asked",
    [
        pb.ApplicationSettings(type=""),
        pb.ApplicationSettings(type="trusted"),
        pb.ApplicationSettings(type="public", user_kinds=["alien"]),
        pb.ApplicationSettings(type="public", grants=["password"]),
        pb.ApplicationSettings(type="public", grants=[""]),
        pb.ApplicationSettings(type="public", auth_method="basic"),
        pb.ApplicationSettings(type="public", reference_tokens="all"),
    ],
)
def test_unknown_words_are_refused(asked: pb.ApplicationSettings) -> None:
    with pytest.raises(Refusal) as refused:
        messages.application_settings(asked)
    assert refused.value.code == "invalid_client_metadata"


@pytest.mark.parametrize("paths", [[], ["client_id"], ["display_name", "secret"], ["*"], ["settings.display_name"]])
def test_a_mask_names_settings(paths: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        messages.application_changes(pb.ApplicationSettings(), FieldMask(paths=paths))
    assert refused.value.code == "invalid_mask"


def test_a_resource_survives_the_way_in() -> None:
    asked = pb.ResourceSettings(
        display_name="API",
        scopes=[pb.Scope(name="read", description="see")],
        admits_community_users=True,
        callers=["x"],
    )
    assert messages.resource_settings(asked) == ResourceSettings(
        display_name="API",
        scopes=(Scope(name="read", description="see"),),
        admits_community_users=True,
        callers=("x",),
    )
    assert messages.resource_changes(asked, FieldMask(paths=["callers"])) == {"callers": ("x",)}


@pytest.mark.parametrize("name", ["com.example/app", "a.b/c", ""])
def test_page_tokens(name: str) -> None:
    assert messages.page_start(messages.page_token(name)) == name


@pytest.mark.parametrize("token", ["!", "Y29t=", "Y29", "w6Q", "a b", "Y29t\n", "ä"])
def test_no_other_page_tokens(token: str) -> None:
    with pytest.raises(Refusal) as refused:
        messages.page_start(token)
    assert refused.value.code == "invalid_page"


def test_page_sizes() -> None:
    assert [messages.page_size(asked) for asked in (0, 1, 1000, 5000)] == [100, 1, 1000, 1000]
    with pytest.raises(Refusal):
        messages.page_size(-1)


def test_times_that_no_calendar_has() -> None:
    with pytest.raises(Refusal):
        messages.moment(Timestamp(seconds=1 << 60))
