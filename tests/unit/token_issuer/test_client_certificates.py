"""Whose a client certificate is (RFC 8705 section 2): by a registered key, or by an authority and a name."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.registry.events import ApplicationSettings, AuthMethod
from services.token_issuer.assertions.keys import ClientKeys
from services.token_issuer.authorities import Authorities
from services.token_issuer.client_certificates import ClientCertificate, MutualTls
from stagedoor.certificate import ClientCertificates
from tests.support.client_certificates import (
    DAY,
    MTLS_ORIGIN,
    Extensions,
    authority,
    certificate,
    common_name,
    field_of,
    mutual_tls,
    self_signed,
    thumbprint,
)

NAME = x509.NameAttribute
OID = NameOID
SUBJECT = x509.Name(
    [NAME(OID.COUNTRY_NAME, "GB"), NAME(OID.ORGANIZATION_NAME, "Tour, Bus"), NAME(OID.COMMON_NAME, "app")]
)
SUBJECT_DN = r"CN=app,O=Tour\, Bus,C=GB"
"""The same by RFC 4514: the last first."""
CA = authority("ca")
ISSUED: dict[str, Any] = {"by": "ca", "issuer": common_name("ca")}
USAGE = x509.ExtendedKeyUsage


def names(*said: x509.GeneralName) -> Extensions:
    return [(x509.SubjectAlternativeName(said), False)]


async def proves(settings: ApplicationSettings, shown: x509.Certificate, *authorities: x509.Certificate) -> bool:
    now = datetime.now(UTC)
    current = shown.not_valid_before_utc <= now < shown.not_valid_after_utc
    presented = ClientCertificate(thumbprint(shown), shown, current)
    return await mutual_tls(*authorities).proves(settings, presented, ClientKeys(), now)


async def test_a_self_signed_one_is_known_by_its_key() -> None:
    settings = self_signed("own", "next")
    for shown in (certificate("own"), certificate("next"), certificate("own", subject=common_name("whatever"))):
        assert await proves(settings, shown)
    namesake = certificate("other", subject=common_name("own"))
    over, to_come = certificate("own", since=-2 * DAY, until=-DAY), certificate("own", since=DAY, until=2 * DAY)
    for shown in (namesake, over, to_come, certificate("other", by="own"), authority("other")):
        assert not await proves(settings, shown)
    assert not await proves(settings.model_copy(update={"jwks": ()}), certificate("own"))
    by_assertion = settings.model_copy(update={"auth_method": AuthMethod.PRIVATE_KEY_JWT})
    assert not await proves(by_assertion, certificate("own")), "the same key, registered for another method"


def named(**changes: str) -> ApplicationSettings:
    return self_signed(auth_method=AuthMethod.TLS_CLIENT_AUTH, **changes)


ALL = names(
    x509.DNSName("App.example.com"),
    x509.UniformResourceIdentifier("spiffe://example/app"),
    x509.IPAddress(ip_address("10.1.2.3")),
    x509.IPAddress(ip_address("2001:db8::1")),
    x509.RFC822Name("app@example.com"),
)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        (
            "subject_dn",
            SUBJECT_DN,
            [r"CN=app,O=Tour\, Bus", r"C=GB,O=Tour\, Bus,CN=app", "CN=app", "CN=App", "nonsense"],
        ),
        ("san_dns", "app.example.com", ["example.com", "*.example.com", "app.example.com.evil.example", "10.1.2.3"]),
        ("san_uri", "spiffe://example/app", ["spiffe://example/app/", "spiffe://example/", "spiffe://EXAMPLE/app"]),
        ("san_ip", "10.1.2.3", ["10.1.2.4", "::ffff:10.1.2.3"]),
        ("san_ip", "2001:db8::1", ["2001:db8::2"]),
        ("san_email", "app@example.com", ["App@example.com", "pp@example.com", "app.example.com"]),
    ],
)
async def test_one_of_an_authority_is_known_by_a_name(name: str, right: str, wrong: Sequence[str]) -> None:
    shown = certificate("app", subject=SUBJECT, extensions=ALL, **ISSUED)
    setting = f"tls_client_auth_{name}"
    assert await proves(named(**{setting: right}), shown, CA)
    for value in wrong:
        assert not await proves(named(**{setting: value}), shown, CA), value
    bare = certificate("app", **ISSUED)
    assert not await proves(named(**{setting: right}), bare, CA)


async def test_a_wildcard_is_no_name() -> None:
    shown = certificate("app", extensions=names(x509.DNSName("*.example.com")), **ISSUED)
    assert not await proves(named(tls_client_auth_san_dns="app.example.com"), shown, CA)


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(certificate("app", subject=SUBJECT), id="self-signed"),
        pytest.param(certificate("app", subject=SUBJECT, by="other", issuer=common_name("ca")), id="another authority"),
        pytest.param(certificate("app", subject=SUBJECT, since=-2 * DAY, until=-DAY, **ISSUED), id="over"),
        pytest.param(certificate("app", subject=SUBJECT, since=DAY, until=2 * DAY, **ISSUED), id="to come"),
        pytest.param(
            certificate(
                "app", subject=SUBJECT, extensions=[(USAGE([ExtendedKeyUsageOID.SERVER_AUTH]), False)], **ISSUED
            ),
            id="for servers",
        ),
        pytest.param(
            certificate(
                "app", subject=SUBJECT, extensions=[(x509.BasicConstraints(ca=True, path_length=None), True)], **ISSUED
            ),
            id="an authority's own",
        ),
        pytest.param(
            certificate(
                "app",
                subject=SUBJECT,
                extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)],
                **ISSUED,
            ),
            id="with something critical that nobody knows",
        ),
        pytest.param(
            certificate("app", subject=SUBJECT, by="middle", issuer=common_name("middle")), id="by one between"
        ),
    ],
)
async def test_what_the_authority_has_not_issued(shown: x509.Certificate) -> None:
    settings = named(tls_client_auth_subject_dn=SUBJECT_DN)
    assert not await proves(settings, shown, CA)
    good = certificate("app", subject=SUBJECT, **ISSUED)
    assert await proves(settings, good, CA)
    assert await proves(settings, good, authority("elsewhere"), CA)
    assert not await proves(settings, good, authority("other", subject=common_name("ca")))
    assert not await proves(settings, good), "without authorities there is no such method"


async def test_an_authority_between_may_be_named_itself() -> None:
    constraints = [(x509.BasicConstraints(ca=True, path_length=0), True)]
    between = certificate("middle", extensions=[*constraints, *authority_usage()], **ISSUED)
    shown = certificate("app", subject=SUBJECT, by="middle", issuer=common_name("middle"))
    settings = named(tls_client_auth_subject_dn=SUBJECT_DN)
    assert await proves(settings, shown, between)
    assert await proves(settings, shown, CA, between)
    assert not await proves(settings, shown, CA)


def authority_usage() -> Extensions:
    return [(authority("any").extensions.get_extension_for_class(x509.KeyUsage).value, True)]


async def test_settings_that_name_too_much_or_nothing() -> None:
    shown = certificate("app", subject=SUBJECT, extensions=ALL, **ISSUED)
    assert not await proves(named(), shown, CA)
    both = named(tls_client_auth_subject_dn=SUBJECT_DN, tls_client_auth_san_dns="app.example.com")
    assert not await proves(both, shown, CA)


def test_authorities_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "clients.pem"
    file.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in (authority("a"), CA)))
    assert Authorities.read(file).issued(certificate("app", **ISSUED), datetime.now(UTC))
    for content in (b"", b"nothing", certificate("app").public_bytes(Encoding.PEM)):
        file.write_bytes(content)
        with pytest.raises(SystemExit, match="authorities of client certificates cannot be read"):
            Authorities.read(file)
    with pytest.raises(SystemExit, match="No such file"):
        Authorities.read(tmp_path / "missing.pem")


class Sent:
    def __init__(self, *values: bytes, peer: str = "127.0.0.1") -> None:
        self.headers = [(b"client-cert", value) for value in values]
        self.peer = peer


def test_what_is_read_of_a_request() -> None:
    told, now = MutualTls(ClientCertificates(), MTLS_ORIGIN), datetime.now(UTC)
    own = certificate("own")
    found = told.of(Sent(field_of(own).encode()), now)
    assert found is not None
    assert (found.x5t_s256, found.current, found.proved) == (thumbprint(own), True, False)
    later: Any = told.of(Sent(field_of(own).encode()), now + timedelta(days=2))
    assert later.current is False
    assert told.of(Sent(b"::"), now) is None
    assert told.of(Sent(), now) is None
    assert told.of(Sent(field_of(own).encode(), peer="10.0.0.1"), now) is None
