"""Clients that open their connection with a certificate (RFC 8705), and the header in which a door passes it on."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm

from services.registry.events import ApplicationSettings, AuthMethod, PublicJwk
from services.token_issuer.authorities import Authorities
from services.token_issuer.client_certificates import MutualTls
from stagedoor.certificate import CLIENT_CERT, Certificate, ClientCertificates
from tests.support.issuing import CONFIDENTIAL, Client, Stage

MTLS_ORIGIN = "https://localhost:8444"
DAY = timedelta(days=1)
Extensions = Sequence[tuple[x509.ExtensionType, bool]]


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key pair of this name."""
    return ec.generate_private_key(ec.SECP256R1())


def common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def certificate(
    name: str,
    *,
    subject: x509.Name | None = None,
    by: str | None = None,
    issuer: x509.Name | None = None,
    since: timedelta = -DAY,
    until: timedelta = DAY,
    extensions: Extensions = (),
) -> x509.Certificate:
    """For the key of this name; `by` another one's key, or self-signed. Times are counted from now."""
    signer = by or name
    now = datetime.now(UTC)
    subject = subject or common_name(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or (common_name(signer) if by is not None else subject))
        .public_key(key(name).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key(signer), hashes.SHA256())


def authority(name: str, *, subject: x509.Name | None = None) -> x509.Certificate:
    """The certificate of an authority with the key of this name."""
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    return certificate(name, subject=subject, extensions=[(constraints, True), (usage, True)])


def der(content: x509.Certificate) -> bytes:
    return content.public_bytes(Encoding.DER)


def thumbprint(content: x509.Certificate) -> str:
    return Certificate(der(content)).thumbprint


def field_of(content: x509.Certificate) -> str:
    """As the door writes it (RFC 9440 section 2.1)."""
    return f":{b64encode(der(content)).decode()}:"


def files(folder: Path, name: str, content: x509.Certificate) -> tuple[str, str]:
    """Certificate and key as files, for a client that connects."""
    shown, kept = folder / f"{name}.pem", folder / f"{name}.key"
    shown.write_bytes(content.public_bytes(Encoding.PEM))
    kept.write_bytes(key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(shown), str(kept)


def jwk(name: str) -> PublicJwk:
    """The key of this name, as it is registered."""
    made = json.loads(ECAlgorithm.to_jwk(key(name).public_key()))
    return PublicJwk(kid=name, **{member: made[member] for member in ("kty", "crv", "x", "y")})


def self_signed(*names: str, **changes: Any) -> ApplicationSettings:
    """Settings of an application with certificates for these keys."""
    return CONFIDENTIAL.model_copy(
        update={
            "auth_method": AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH,
            "jwks": tuple(map(jwk, names)),
            "tls_client_certificate_bound_access_tokens": True,
            **changes,
        }
    )


def mutual_tls(*authorities: x509.Certificate) -> MutualTls:
    """What an issuer is told that believes a door on this machine."""
    known = Authorities(authorities) if authorities else None
    return MutualTls(ClientCertificates(CLIENT_CERT), MTLS_ORIGIN, known)


@dataclass
class CertifiedClient(Client):
    """An application that opens its connections with a certificate."""

    shown: x509.Certificate | None = None
    more: dict[str, str] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        certified = {} if self.shown is None else {CLIENT_CERT: field_of(self.shown)}
        return {**super().headers(), **certified, **self.more}


async def certified(
    stage: Stage,
    settings: ApplicationSettings,
    shown: x509.Certificate | None,
    client_id: str = "com.certified/app",
    *,
    resources: bool = True,
) -> CertifiedClient:
    """An application with these settings, registered, that shows this certificate."""
    made = await stage.register(settings, client_id, resources=resources)
    return CertifiedClient(made.client_id, made.secret, made.redirect_uri, shown)


def showing(client: CertifiedClient, shown: x509.Certificate | None) -> CertifiedClient:
    """The same with another certificate."""
    return CertifiedClient(client.client_id, client.secret, client.redirect_uri, shown)


async def own_token(stage: Stage, client: Client, **form: str) -> httpx.Response:
    """What client credentials give."""
    return await stage.token(client, grant_type="client_credentials", scope="read", **form)
