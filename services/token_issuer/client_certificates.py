"""Client certificates at the issuer (RFC 8705): which one a request has come with, and whether it is an application's.

The door asks for a certificate and checks none: the handshake shows that its key is held, and whose it is, is decided
here. A setting says in which header the door passes it on; without that setting no certificate is ever believed.
"""

from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from services.registry.events import ApplicationSettings, AuthMethod
from services.token_issuer.assertions.keys import ClientKeys, VerificationKey
from services.token_issuer.authorities import Authorities
from shared.http.client_address import Sender
from shared.http.errors import invalid_request
from stagedoor.certificate import ClientCertificates

METHODS: Final = (AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH, AuthMethod.TLS_CLIENT_AUTH)


@dataclass(slots=True, eq=False)
class ClientCertificate:
    """The certificate that a client has opened its connection with, and how far it has come through one request."""

    x5t_s256: str
    """Its thumbprint (section 3.1)."""
    content: x509.Certificate = field(repr=False)
    current: bool
    """It is neither over nor to come."""
    proved: bool = False
    """It is that of the application which the request names."""


@dataclass(frozen=True, slots=True)
class MutualTls:
    """What the issuer is told about certificates of clients."""

    believed: ClientCertificates
    origin: str
    """Where clients are asked for one; the issuer's own origin, if it is asked for there."""
    authorities: Authorities | None = None
    """Who issues certificates to applications; None: nobody, there are self-signed ones alone."""

    @property
    def methods(self) -> tuple[AuthMethod, ...]:
        """How applications can authenticate with a certificate."""
        return METHODS if self.authorities is not None else METHODS[:1]

    def of(self, sender: Sender, now: datetime) -> ClientCertificate | None:
        """The certificate that a request has come with, if any; raises `invalid_request` for what is none."""
        try:
            found = self.believed.of(sender.headers, sender.peer)
            content = None if found is None else x509.load_der_x509_certificate(found.der)
        except ValueError:
            raise invalid_request("the client certificate is not one, or there is more than one") from None
        if found is None or content is None:
            return None
        current = content.not_valid_before_utc <= now < content.not_valid_after_utc
        return ClientCertificate(found.thumbprint, content, current)

    async def proves(
        self, settings: ApplicationSettings, shown: ClientCertificate, keys: ClientKeys, now: datetime
    ) -> bool:
        """Whether it is a certificate of the application with these settings, by the method that is registered."""
        if not shown.current:
            return False
        match settings.auth_method:
            case AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH:
                return await _is_registered(settings, shown.content, keys)
            case AuthMethod.TLS_CLIENT_AUTH if self.authorities is not None:
                return _is_named(settings, shown.content) and self.authorities.issued(shown.content, now)
            case _:
                return False


async def _is_registered(settings: ApplicationSettings, content: x509.Certificate, keys: ClientKeys) -> bool:
    """Section 2.2, by the public key: who holds that could make any other certificate for it as well."""
    try:
        public = content.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False

    def same(known: VerificationKey) -> bool:
        return bool(known.key == public)

    return any(map(same, await keys.of(settings, same)))


def _is_named(settings: ApplicationSettings, content: x509.Certificate) -> bool:
    """Section 2.1.2: whether it says what is registered; a name with a wildcard says nothing."""
    named = settings.certificate_names
    if len(named) != 1:
        return False
    ((name, value),) = named.items()
    try:
        if name == "tls_client_auth_subject_dn":
            return content.subject == x509.Name.from_rfc4514_string(value)
        names = content.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False
    kind = _KINDS[name]
    said: list[Any] = names.get_values_for_type(kind)
    match name:
        case "tls_client_auth_san_dns":
            return value in {one.lower() for one in said}
        case "tls_client_auth_san_ip":
            return ip_address(value) in said
        case _:
            return value in said


_KINDS: Final[dict[str, Any]] = {
    "tls_client_auth_san_dns": x509.DNSName,
    "tls_client_auth_san_uri": x509.UniformResourceIdentifier,
    "tls_client_auth_san_ip": x509.IPAddress,
    "tls_client_auth_san_email": x509.RFC822Name,
}
