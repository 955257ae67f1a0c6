"""Applications that authenticate with a certificate, or whose tokens are bound to one: which settings fit."""

from typing import Any

import pytest

from services.registry.domain.application import Change, decider
from services.registry.domain.trust import check_settings, proof_changed
from services.registry.events import ApplicationChanged, AuthMethod
from shared.errors import Refusal
from tests.support.decider import given
from tests.unit.registry.applications import HUB, KNOWN, confidential, native, public, registered
from tests.unit.registry.test_public_keys import SIGNING

BY_NAME = {"auth_method": AuthMethod.TLS_CLIENT_AUTH}
SELF_SIGNED = {**SIGNING, "auth_method": AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH}
DNS = {"tls_client_auth_san_dns": "app.example.com"}


@pytest.mark.parametrize(
    "name",
    [
        {"tls_client_auth_subject_dn": "CN=app,O=Example Corp,C=GB"},
        {"tls_client_auth_subject_dn": r"2.5.4.3=app,O=Tour\, Bus"},
        DNS,
        {"tls_client_auth_san_uri": "spiffe://example/app"},
        {"tls_client_auth_san_uri": "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"},
        {"tls_client_auth_san_ip": "10.1.2.3"},
        {"tls_client_auth_san_ip": "2001:db8::1"},
        {"tls_client_auth_san_email": "app@example.com"},
    ],
)
def test_a_certificate_is_named_in_one_way(name: dict[str, str]) -> None:
    settings = confidential(**BY_NAME, **name)
    check_settings(settings)
    assert settings.certificate_names == name


@pytest.mark.parametrize(
    "settings",
    [
        confidential(**BY_NAME),
        confidential(**BY_NAME, **DNS, tls_client_auth_san_ip="10.1.2.3"),
        confidential(**DNS),
        confidential(**SELF_SIGNED, **DNS),
        confidential(**BY_NAME, **DNS, jwks=SIGNING["jwks"]),
        confidential(auth_method=AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH),
        confidential(**SELF_SIGNED, jwks_uri="https://app.example.com/keys"),
        confidential(**SELF_SIGNED, require_signed_request_object=True),
        confidential(dpop_bound_access_tokens=True, tls_client_certificate_bound_access_tokens=True),
        public(**BY_NAME, **DNS),
        native(**SELF_SIGNED),
    ],
)
def test_settings_that_do_not_fit(settings: Any) -> None:
    with pytest.raises(Refusal):
        check_settings(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subject_dn", ""),
        ("subject_dn", "app"),
        ("subject_dn", "CN="),
        ("subject_dn", "CN=a\nb"),
        ("subject_dn", "CN=" + "a" * 600),
        ("san_dns", "App.example.com"),
        ("san_dns", "*.example.com"),
        ("san_dns", "app.example.com."),
        ("san_dns", "https://app.example.com"),
        ("san_uri", "app"),
        ("san_uri", "spiffe://a b"),
        ("san_ip", "10.1.2.3/8"),
        ("san_ip", "010.1.2.3"),
        ("san_ip", "2001:DB8::1"),
        ("san_ip", "app.example.com"),
        ("san_email", "app"),
        ("san_email", "a@b@c"),
        ("san_email", "app@Example.com"),
    ],
)
def test_names_that_are_none(name: str, value: str) -> None:
    with pytest.raises(Refusal, match=f"tls_client_auth_{name}"):
        check_settings(confidential(**BY_NAME, **{f"tls_client_auth_{name}": value}))


@pytest.mark.parametrize("make", [confidential, public, native])
def test_tokens_of_any_application_may_be_bound(make: Any) -> None:
    check_settings(make(tls_client_certificate_bound_access_tokens=True))


def test_another_certificate_is_another_proof() -> None:
    """Whatever the issuer was about to give to who had shown the one before is looked at anew."""
    before = confidential(**BY_NAME, **DNS)
    after = {"tls_client_auth_san_dns": "other.example.com"}
    assert proof_changed(before, confidential(**BY_NAME, **after))
    assert not proof_changed(before, confidential(**BY_NAME, **DNS, display_name="Another"))
    (event,) = given(decider, *registered(before)[:1]).when(Change(HUB, after, KNOWN)).events
    assert isinstance(event, ApplicationChanged)
    assert event.proof_changed
    assert not event.narrowed
