"""A development authority, and the certificates that the parts of a local system show each other.

    <folder>/ca.pem  .key                       the authority
    <folder>/<service>.pem  .key                a service, as server and as client
    <folder>/door.pem  .key                     the front door, for browsers and clients
    <folder>/<server>.pem  .key                 a server that is none of ours: PostgreSQL, a node of NATS
    <folder>/operator.pem  .key                 the `stagedoor` command
    <folder>/resource-<name>.pem  .key          an outside resource server that asks for validation

Everything is made once, kept, and made anew when it nears its end or does not fit together any more.
"""

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.local.failure import SystemFailure
from shared.clock import Clock, system_clock

TRUST_DOMAIN: Final = "spiffe://stagedoor/"
AUTHORITY_DAYS: Final = 3650
LEAF_DAYS: Final = 90
_BACKDATED: Final = timedelta(minutes=5)
"""Clocks of parts of one system may differ a little."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The files of one certificate."""

    certificate: Path
    key: Path


class Authority:
    """The development authority in one folder. Whoever uses it holds the folder (`infra.local.home`)."""

    def __init__(
        self, folder: Path, clock: Clock = system_clock, *, leaf_lifetime: timedelta = timedelta(days=LEAF_DAYS)
    ) -> None:
        """`leaf_lifetime`: of what it signs; renewed when a third of it is left."""
        self._leaf_lifetime = leaf_lifetime
        self._folder = folder
        self._clock = clock
        self.certificate = folder / "ca.pem"
        """What every part checks its peers against."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own, self._key = self._authority()
        except OSError as failure:
            raise SystemFailure(f"the certificates in {folder} cannot be used: {failure.strerror}") from failure

    def service(self, name: str) -> Shown:
        """A service's certificate: server for localhost and its own name, and client."""
        dns = dict.fromkeys(("localhost", name, name.replace("_", "-")))
        return self._leaf(
            name,
            f"service/{name}",
            dns,
            (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
            addresses=True,
        )

    def door(self) -> Shown:
        """The front door's certificate: server for this machine's own names."""
        return self._leaf("door", "door", ("localhost",), (ExtendedKeyUsageOID.SERVER_AUTH,), addresses=True)

    def server(self, name: str, hosts: Iterable[str]) -> Shown:
        """A server's that is none of our services, by these host names; it is a client of its like, too."""
        usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._leaf(name, f"server/{name}", dict.fromkeys(hosts), usages, addresses=False)

    def operator(self) -> Shown:
        """The certificate of the `stagedoor` command: client only."""
        return self._leaf("operator", "operator", (), (ExtendedKeyUsageOID.CLIENT_AUTH,), addresses=False)

    def resource(self, name: str) -> Shown:
        """The certificate of an outside resource server: client only."""
        return self._leaf(
            f"resource-{name}", f"resource/{name}", (), (ExtendedKeyUsageOID.CLIENT_AUTH,), addresses=False
        )

    def _authority(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        files = Shown(self.certificate, self._folder / "ca.key")
        kept = _kept(files)
        if kept is not None and kept[0].not_valid_after_utc > self._clock() + 2 * self._leaf_lifetime:
            return kept
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stagedoor development authority")])
        certificate = (
            self._begun(name, name, key.public_key(), timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(files, certificate, key)
        return certificate, key

    def _leaf(
        self, file: str, path: str, dns: Iterable[str], usages: Iterable[x509.ObjectIdentifier], *, addresses: bool
    ) -> Shown:
        files = Shown(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(TRUST_DOMAIN + path)]
        names += [x509.DNSName(name) for name in dns]
        if addresses:
            names += [x509.IPAddress(IPv4Address("127.0.0.1")), x509.IPAddress(IPv6Address("::1"))]
        wanted = x509.SubjectAlternativeName(names)
        kept = _kept(files)
        if kept is not None and self._serves(kept[0], wanted):
            return files
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path)])
        certificate = (
            self._begun(subject, self._own.subject, key.public_key(), self._leaf_lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(wanted, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        try:
            _write(files, certificate, key)
        except OSError as failure:
            raise SystemFailure(f"{files.certificate} cannot be written: {failure.strerror}") from failure
        return files

    def _begun(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
    ) -> x509.CertificateBuilder:
        now: datetime = self._clock()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + lifetime)
        )

    def _serves(self, certificate: x509.Certificate, wanted: x509.SubjectAlternativeName) -> bool:
        """Whether a kept certificate is of this authority, for these names, and lasts a while yet."""
        try:
            certificate.verify_directly_issued_by(self._own)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        return names == wanted and certificate.not_valid_after_utc > self._clock() + self._leaf_lifetime / 3


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _kept(files: Shown) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """The pair that is there, if both can be read, belong together, and nobody else could read the key."""
    try:
        if files.key.stat().st_mode & 0o077:
            return None
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return certificate, key


def _write(files: Shown, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _replace(files.key, private, 0o600)
    _replace(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file that has all of its content or stays as it was."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
