"""The development authority: made once, renewed in time, readable by nobody else."""

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from infra.local.certificates import AUTHORITY_DAYS, LEAF_DAYS, Authority, Shown
from infra.local.failure import SystemFailure

NOW = datetime(2031, 5, 1, tzinfo=UTC)


def _authority(folder: Path, days: float = 0) -> Authority:
    return Authority(folder, clock=lambda: NOW + timedelta(days=days))


def _all(authority: Authority) -> list[Shown]:
    return [authority.service("token_issuer"), authority.operator(), authority.resource("stagehands")]


def _read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_each_party_is_named_and_may_do_what_it_has_to(tmp_path: Path) -> None:
    authority = _authority(tmp_path)
    service, operator, resource = (_read(shown.certificate) for shown in _all(authority))
    uri = x509.UniformResourceIdentifier
    assert _names(service).get_values_for_type(uri) == ["spiffe://stagedoor/service/token_issuer"]
    assert _names(operator).get_values_for_type(uri) == ["spiffe://stagedoor/operator"]
    assert _names(resource).get_values_for_type(uri) == ["spiffe://stagedoor/resource/stagehands"]
    assert set(_names(service).get_values_for_type(x509.DNSName)) == {"localhost", "token_issuer", "token-issuer"}
    assert {str(address) for address in _names(service).get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    for certificate, usages in (
        (service, {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}),
        (operator, {ExtendedKeyUsageOID.CLIENT_AUTH}),
        (resource, {ExtendedKeyUsageOID.CLIENT_AUTH}),
    ):
        certificate.verify_directly_issued_by(_read(authority.certificate))
        assert set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        assert certificate.not_valid_after_utc == NOW + timedelta(days=LEAF_DAYS)
    own = _read(authority.certificate)
    assert own.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)  # noqa: FBT003
    assert own.not_valid_after_utc == NOW + timedelta(days=AUTHORITY_DAYS)


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    before = os.umask(0)
    try:
        shown = _all(_authority(folder))
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for key in (folder / "ca.key", *(one.key for one in shown)):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len({one.key.read_bytes() for one in shown}) == len(shown)
    assert not list(folder.glob(".*"))


def test_they_are_made_once(tmp_path: Path) -> None:
    _all(_authority(tmp_path))
    made = _contents(tmp_path)
    _all(_authority(tmp_path, days=1))
    assert _contents(tmp_path) == made


def test_they_are_renewed_before_they_end_and_the_authority_stays(tmp_path: Path) -> None:
    _all(_authority(tmp_path))
    made = _contents(tmp_path)
    later = LEAF_DAYS - 20
    _all(_authority(tmp_path, days=later))
    renewed = _contents(tmp_path)
    assert {name for name in made if made[name] == renewed[name]} == {"ca.pem", "ca.key"}
    assert _read(tmp_path / "operator.pem").not_valid_after_utc == NOW + timedelta(days=later + LEAF_DAYS)


def test_a_new_authority_signs_everything_anew(tmp_path: Path) -> None:
    _all(_authority(tmp_path))
    made = _contents(tmp_path)
    authority = _authority(tmp_path, days=AUTHORITY_DAYS - 100)
    shown = _all(authority)
    assert not set(_contents(tmp_path).values()) & set(made.values())
    for one in shown:
        _read(one.certificate).verify_directly_issued_by(_read(authority.certificate))


@pytest.mark.parametrize("damage", ["truncated", "missing", "exchanged", "exposed", "nonsense"])
def test_what_does_not_fit_together_is_made_anew(tmp_path: Path, damage: str) -> None:
    operator, service = _authority(tmp_path).operator(), _authority(tmp_path).service("registry")
    before = operator.certificate.read_bytes()
    match damage:
        case "truncated":
            operator.certificate.write_bytes(before[:100])
        case "missing":
            operator.key.unlink()
        case "exchanged":
            operator.key.write_bytes(service.key.read_bytes())
        case "exposed":
            operator.key.chmod(0o644)
        case _:
            operator.key.write_text("not a key")
    again = _authority(tmp_path).operator()
    assert again.certificate.read_bytes() != before
    assert stat.S_IMODE(again.key.stat().st_mode) == 0o600
    _read(again.certificate).verify_directly_issued_by(_read(tmp_path / "ca.pem"))
    assert _authority(tmp_path).operator().certificate.read_bytes() == again.certificate.read_bytes()


def test_a_certificate_for_somebody_else_is_not_kept(tmp_path: Path) -> None:
    """A file that was copied over another one does not make one party the other."""
    authority = _authority(tmp_path)
    operator, resource = authority.operator(), authority.resource("stagehands")
    for mine, theirs in ((resource.certificate, operator.certificate), (resource.key, operator.key)):
        mine.write_bytes(theirs.read_bytes())
    again = _authority(tmp_path).resource("stagehands")
    names = _names(_read(again.certificate)).get_values_for_type(x509.UniformResourceIdentifier)
    assert names == ["spiffe://stagedoor/resource/stagehands"]


def test_a_folder_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemFailure, match="cannot be used"):
        _authority(tmp_path / "file" / "certificates")
