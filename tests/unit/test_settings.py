"""What a service that is told too little, or something wrong, says before it ends."""

from pathlib import Path

import pytest

from infra.local.certificates import Authority
from services.identity.settings import IdentitySettings
from services.token_issuer.settings import TokenIssuerSettings
from shared.messaging import NatsAccess
from shared.rpc.tls import Tls
from shared.settings import ServiceSettings, load, read_secret

TOLD = {
    "ORIGIN": "https://login.example.com",
    "ISSUER": "https://login.example.com/id",
    "DATABASE": "postgresql://identity@db/stagedoor",
    "NATS_URL": "tls://nats-1:4222,tls://nats-2:4222",
    "NATS_USER": "identity",
    "TLS_CA_FILE": "/tls/ca.pem",
    "TLS_CERTIFICATE_FILE": "/tls/certificate.pem",
    "TLS_KEY_FILE": "/tls/key.pem",
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in TOLD.items():
        monkeypatch.setenv(f"STAGEDOOR_{name}", value)
    return monkeypatch


def test_what_it_is_told(told: pytest.MonkeyPatch) -> None:
    assert load(IdentitySettings).issuer == TOLD["ISSUER"]


@pytest.mark.parametrize("name", ["DATABASE", "TLS_CA_FILE", "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE"])
def test_something_is_missing(told: pytest.MonkeyPatch, name: str) -> None:
    told.delenv(f"STAGEDOOR_{name}")
    with pytest.raises(SystemExit) as end:
        load(ServiceSettings)
    assert str(end.value).startswith(f"stagedoor: setting STAGEDOOR_{name}: ")
    assert "\n" not in str(end.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTBEAT_SECONDS", "-1"),
        ("PROXIES", "10.0.0.0/8"),
        ("ISSUER", "http://login.example.com/id"),
        ("ISSUER", "https://elsewhere.example.com/id"),
        ("ISSUER", "https://login.example.com.evil.example/id"),
        ("ISSUER", "https://login.example.com/id?x=1"),
        ("ISSUER", "https://login.example.com/id#x"),
        ("ISSUER", ""),
    ],
)
def test_something_is_wrong(told: pytest.MonkeyPatch, name: str, value: str) -> None:
    told.setenv(f"STAGEDOOR_{name}", value)
    with pytest.raises(SystemExit) as end:
        load(ServiceSettings)
    assert f"STAGEDOOR_{name}" in str(end.value)
    assert "\n" not in str(end.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8400", "localhost:8400", "[::1]:8400"])
def test_on_this_machine_an_issuer_may_do_without_tls(told: pytest.MonkeyPatch, host: str) -> None:
    told.setenv("STAGEDOOR_ORIGIN", f"http://{host}")
    told.setenv("STAGEDOOR_ISSUER", f"http://{host}/id")
    assert load(ServiceSettings).issuer == f"http://{host}/id"


def test_a_secret_is_missing(tmp_path: Path) -> None:
    for path in (None, tmp_path / "nowhere"):
        with pytest.raises(SystemExit, match=r"^stagedoor: .*the master key.*$"):
            read_secret(path, "the master key")


class TestNats:
    @pytest.fixture
    def settings(self, told: pytest.MonkeyPatch, tmp_path: Path) -> ServiceSettings:
        authority = Authority(tmp_path / "certificates")
        shown = authority.service("identity")
        (tmp_path / "password").write_text("a secret\n")
        told.setenv("STAGEDOOR_NATS_PASSWORD_FILE", str(tmp_path / "password"))
        told.setenv("STAGEDOOR_TLS_CA_FILE", str(authority.certificate))
        told.setenv("STAGEDOOR_TLS_CERTIFICATE_FILE", str(shown.certificate))
        told.setenv("STAGEDOOR_TLS_KEY_FILE", str(shown.key))
        return load(ServiceSettings)

    def test_with_tls_servers_are_checked(self, settings: ServiceSettings) -> None:
        access = NatsAccess.read(settings)
        assert access.tls is not None
        assert access.tls.check_hostname
        assert "a secret" not in repr(access)

    def test_without(self, settings: ServiceSettings) -> None:
        access = NatsAccess.read(settings.model_copy(update={"nats_url": "nats://127.0.0.1:4222"}))
        assert access.tls is None

    @pytest.mark.parametrize(
        ("update", "said"),
        [
            ({"nats_url": "tls://nats-1:4222,nats://nats-2:4222"}, "STAGEDOOR_NATS_URL"),
            ({"nats_user": ""}, "STAGEDOOR_NATS_USER"),
            ({"nats_password_file": None}, "the NATS password"),
            ({"tls_key_file": Path("/nowhere")}, "for NATS"),
        ],
    )
    def test_not_whole(self, settings: ServiceSettings, update: dict[str, object], said: str) -> None:
        with pytest.raises(SystemExit, match=said):
            NatsAccess.read(settings.model_copy(update=update))

    def test_certificates_that_are_none(self, settings: ServiceSettings, tmp_path: Path) -> None:
        with pytest.raises(SystemExit, match=r"^stagedoor: a certificate or key cannot be read: .*nowhere"):
            Tls.read(settings.model_copy(update={"tls_ca_file": tmp_path / "nowhere"}))


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://login.example.com:443", "https://login.example.com"),
        ("https://[2001:db8::1]:443", "https://[2001:db8::1]"),
        ("https://login.example.com:8443", "https://login.example.com:8443"),
        ("https://login.example.com:4430", "https://login.example.com:4430"),
        ("https://login.example.com:80", "https://login.example.com:80"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_the_usual_port_is_left_out_as_browsers_do(told: pytest.MonkeyPatch, written: str, origin: str) -> None:
    told.setenv("STAGEDOOR_ORIGIN", written)
    told.setenv("STAGEDOOR_ISSUER", f"{written}/id")
    settings = load(ServiceSettings)
    assert (settings.origin, settings.issuer) == (origin, f"{origin}/id")


class TestCertificatesOfClients:
    """Believed where a header is named for them, and nowhere else."""

    @pytest.mark.usefixtures("told")
    def test_usually_nobody_is_believed(self) -> None:
        settings = load(TokenIssuerSettings)
        assert settings.client_certificates is None
        assert settings.mutual_tls is None

    def test_a_header_is_named(self, told: pytest.MonkeyPatch) -> None:
        told.setenv("STAGEDOOR_CLIENT_CERTIFICATE_HEADER", "Client-Cert")
        found = load(TokenIssuerSettings).mutual_tls
        assert found is not None
        assert (found.origin, found.authorities) == (TOLD["ORIGIN"], None)
        told.setenv("STAGEDOOR_MTLS_ORIGIN", "https://mtls.example.com:443")
        found = load(TokenIssuerSettings).mutual_tls
        assert found is not None
        assert found.origin == "https://mtls.example.com"

    @pytest.mark.parametrize(
        "more",
        [
            {"MTLS_ORIGIN": "https://mtls.example.com"},
            {"CLIENT_AUTHORITIES_FILE": "/tls/clients.pem"},
            {"CLIENT_CERTIFICATE_HEADER": "Client-Cert", "MTLS_ORIGIN": "http://mtls.example.com"},
            {"CLIENT_CERTIFICATE_HEADER": "Client-Cert", "MTLS_ORIGIN": "https://mtls.example.com/"},
            {"CLIENT_CERTIFICATE_HEADER": "Client-Cert", "MTLS_ORIGIN": "mtls.example.com"},
            {"CLIENT_CERTIFICATE_HEADER": "Client-Cert", "CLIENT_AUTHORITIES_FILE": "/tls/missing.pem"},
            {"CLIENT_CERTIFICATE_HEADER": "Client Cert"},
            {"CLIENT_CERTIFICATE_HEADER": "Client-Cert, X"},
        ],
    )
    def test_what_fits_nothing(self, told: pytest.MonkeyPatch, more: dict[str, str]) -> None:
        for name, value in more.items():
            told.setenv(f"STAGEDOOR_{name}", value)
        with pytest.raises(SystemExit) as end:
            _ = load(TokenIssuerSettings).mutual_tls
        assert str(end.value).startswith("stagedoor: ")
        assert "\n" not in str(end.value)
