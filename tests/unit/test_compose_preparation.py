"""`infra.compose.prepare`, as a caller that is nobody special."""

import ssl
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from infra.compose import prepare
from infra.compose.prepare import NODES, Preparation, node_configuration
from infra.local.certificates import Authority
from infra.local.failure import SystemFailure
from services.cli import profile
from shared.clock import system_clock

SCRIPT = Path(prepare.__file__).with_name("secrets.sh")
ORIGIN = "https://login.example.com:8443"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    subprocess.run([str(SCRIPT), str(folder)], check=True)
    return folder


def _run(secrets: Path, prepared: Path) -> None:
    Preparation(secrets, prepared, own=False).run(ORIGIN)


def _certificate(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())


def test_the_secrets_are_long_and_never_made_again(secrets: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert len(set(before.values())) == len(before) == 19
    assert all(len(text.strip()) >= 43 for text in before.values())
    (secrets / "deploy").unlink()
    subprocess.run([str(SCRIPT), str(secrets)], check=True)
    after = {path.name: path.read_text() for path in secrets.iterdir()}
    assert after.pop("deploy") != before.pop("deploy")
    assert before == after


def test_each_party_has_its_own(secrets: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    _run(secrets, prepared)
    serials = set()
    for party in (
        "registry",
        "identity",
        "token_issuer",
        "resource",
        "ledger",
        "console",
        "postgres",
        *NODES,
        "door",
        "operator",
    ):
        certificate = _certificate(prepared / party)
        serials.add(certificate.serial_number)
        left = certificate.not_valid_after_utc - system_clock()
        assert timedelta(days=700) < left < timedelta(days=731)
        context = ssl.create_default_context(cafile=prepared / party / "ca.pem")
        context.load_cert_chain(prepared / party / "certificate.pem", prepared / party / "key.pem")
    assert len(serials) == 12
    assert {path.name for path in (prepared / "trust").iterdir()} == {"ca.pem"}
    known = profile.read(prepared / "operator" / "profile.toml")
    assert (known.origin, known.issuer, known.signed_in) == (ORIGIN, f"{ORIGIN}/id", False)


def test_a_certificate_that_the_world_believes_is_shown(secrets: Path, tmp_path: Path) -> None:
    world = Authority(tmp_path / "world")
    shown = world.server("door", ("login.example.com",))
    (secrets / "door.pem").write_text(shown.certificate.read_text())
    with pytest.raises(SystemFailure, match=r"door\.key"):
        _run(secrets, tmp_path / "prepared")
    (secrets / "door.key").write_text(shown.key.read_text())
    _run(secrets, tmp_path / "prepared")
    door = tmp_path / "prepared" / "door"
    assert (door / "certificate.pem").read_text() == shown.certificate.read_text()
    # The public authorities; with one of its own, that alone.
    assert (door / "issuer-ca.pem").read_text().count("BEGIN CERTIFICATE") > 50
    (secrets / "door-ca.pem").write_text(world.certificate.read_text())
    _run(secrets, tmp_path / "prepared")
    for party in ("door", "registry"):
        found = (tmp_path / "prepared" / party / "issuer-ca.pem").read_text()
        assert found == world.certificate.read_text()
        assert found != (tmp_path / "prepared" / party / "ca.pem").read_text()


def test_a_node_knows_the_others_and_their_password() -> None:
    text = node_configuration("nats-2", {"ledger": "the-ledger's"}, "the-route's")
    assert "nats-route://route:the-route's@nats-1:6222" in text
    assert "@nats-2:" not in text
    assert 'LEDGER_PASSWORD: "the-ledger\'s"' in text
    assert text.count("verify: true") == 2
    assert "handshake_first: true" in text


@pytest.mark.parametrize(
    ("origin", "folder", "said"),
    [
        ("http://login.example.com", "secrets", "STAGEDOOR_ORIGIN"),
        ("https://login.example.com/", "secrets", "STAGEDOOR_ORIGIN"),
        ("", "secrets", "STAGEDOOR_ORIGIN"),
        (ORIGIN, "nowhere", "nats cannot be read"),
    ],
)
def test_something_is_wrong(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str, folder: str, said: str
) -> None:
    assert secrets.exists()
    monkeypatch.setenv("STAGEDOOR_ORIGIN", origin)
    monkeypatch.setattr("sys.argv", ["prepare", str(tmp_path / folder), str(tmp_path / "prepared")])
    with pytest.raises(SystemExit) as end:
        prepare.main()
    assert said in str(end.value)
    assert "\n" not in str(end.value)
